import type { ComponentChildren } from "preact";
import { focusMain } from "./focus";

interface Properties {
  kind: "error" | "warning" | "info";
  title: string;
  children: ComponentChildren;
  action?: { name: string; run(): void } | null;
}

/** Something that the person at the page should know. It goes when its action is taken. */
export function Notice({ kind, title, children, action }: Properties) {
  const act = (): void => {
    focusMain();
    action?.run();
  };
  return (
    <div class={`notice ${kind}`} role={kind === "error" ? "alert" : "status"}>
      <div>
        <strong>{title}</strong>
        <div class="notice-text">{children}</div>
      </div>
      {action && (
        <button type="button" onClick={act}>
          {action.name}
        </button>
      )}
    </div>
  );
}
