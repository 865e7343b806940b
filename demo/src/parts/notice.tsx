import type { ComponentChildren } from "preact";

interface Properties {
  kind: "error" | "warning" | "info";
  title: string;
  children: ComponentChildren;
  action?: { name: string; run(): void } | null;
}

/** Something that the person at the page should know. */
export function Notice({ kind, title, children, action }: Properties) {
  return (
    <div class={`notice ${kind}`} role={kind === "error" ? "alert" : "status"}>
      <div>
        <strong>{title}</strong>
        <div class="notice-text">{children}</div>
      </div>
      {action && (
        <button type="button" onClick={action.run}>
          {action.name}
        </button>
      )}
    </div>
  );
}
