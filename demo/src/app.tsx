// The frame: name, pages, the model's state, and the page that is open.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { choose, useModel, type Model } from "./model";
import { Chat } from "./pages/chat";
import { Compare } from "./pages/compare";
import { Playground } from "./pages/playground";
import { Notice } from "./parts/notice";
import { releases } from "./releases";
import { local, remember } from "./storage";
import { megabytes, sentence } from "./words";

const PAGES = [
  { path: "#/", name: "Playground", Page: Playground },
  { path: "#/chat", name: "Chat room", Page: Chat },
  { path: "#/compare", name: "Compare", Page: Compare },
] as const;

export function App() {
  const model = useModel();
  const open = usePage();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useLayoutEffect(() => {
    document.title = `${open.name} · Palisade`;
    if (!first.current) main.current?.focus();
    first.current = false;
  }, [open]);
  const { Page } = open;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        Skip to the content
      </a>
      <header class="top">
        <div class="top-row">
          <a class="brand" href="#/">
            <Mark />
            Palisade
          </a>
          <nav aria-label="Pages">
            {PAGES.map(({ path, name }) => (
              <a href={path} aria-current={name === open.name ? "page" : undefined}>
                {name}
              </a>
            ))}
          </nav>
          <div class="top-tools">
            <ReleaseSelect model={model} />
            <Theme />
          </div>
        </div>
        <Loading model={model} />
      </header>
      <main id="main" class="page" ref={main} tabIndex={-1}>
        <Problem model={model} />
        <Page key={open.path} model={model} />
      </main>
    </>
  );
}

function usePage() {
  const current = () => PAGES.find(({ path }) => path === (location.hash || "#/")) ?? PAGES[0];
  const [page, setPage] = useState(current);
  useEffect(() => {
    const changed = (): void => setPage(current());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return page;
}

function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true" fill="currentColor">
      <path d="M3 11l4-6 4 6v18H3zM12 11l4-6 4 6v18h-8zM21 11l4-6 4 6v18h-8z" />
    </svg>
  );
}

function ReleaseSelect({ model }: { model: Model }) {
  return (
    <label class="select">
      <span class="hidden">Model</span>
      <select
        value={model.choice.id}
        onChange={({ currentTarget }) => {
          const choice = releases.find(({ id }) => id === currentTarget.value);
          if (choice) void choose(choice);
        }}
      >
        {releases.map(({ id, title, bytes }) => (
          <option value={id}>
            {title}, {megabytes(bytes)}
          </option>
        ))}
      </select>
    </label>
  );
}

const THEMES = ["auto", "light", "dark"] as const;

/** Light, dark, or as the system has it. */
function Theme() {
  const [theme, setTheme] = useState(() => local.getItem("palisade-theme") ?? "auto");
  useLayoutEffect(() => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    remember(local, "palisade-theme", theme);
  }, [theme]);
  const next = THEMES[(THEMES.indexOf(theme as "auto") + 1) % THEMES.length] ?? "auto";
  return (
    <button type="button" class="icon" onClick={() => setTheme(next)} aria-label={`Theme: ${theme}. Change to ${next}`} title={`Theme: ${theme}`}>
      <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
        <circle cx="10" cy="10" r="7" fill="none" stroke="currentColor" stroke-width="1.6" />
        {theme !== "light" && <path d={theme === "dark" ? "M10 3a7 7 0 0 0 0 14 7 7 0 0 0 0-14z" : "M10 3a7 7 0 0 1 0 14z"} fill="currentColor" />}
      </svg>
    </button>
  );
}

function Loading({ model }: { model: Model }) {
  if (model.state !== "loading") return <div class="progress-room" />;
  const { progress, choice } = model;
  const fraction = progress ? progress.loaded / (progress.total ?? choice.bytes) : 0;
  return (
    <div class="progress-room">
      <div
        class="progress"
        role="progressbar"
        aria-label="Loading the model"
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(fraction * 100)}
        aria-valuetext={progress ? `${megabytes(progress.loaded)} of ${megabytes(choice.bytes)}` : "starting"}
      >
        <div style={{ width: `${fraction * 100}%` }} />
      </div>
    </div>
  );
}

function Problem({ model }: { model: Model }) {
  if (model.state === "ready" && model.warning) return <Notice kind="warning" title="Works, but is not kept">{model.warning}</Notice>;
  if (model.state !== "failed") return null;
  const code = "code" in model.error ? String(model.error.code) : "";
  return (
    <Notice
      kind="error"
      title={code === "simd" ? "This browser cannot run the model" : model.hasRun ? "The model has stopped" : "The model was not loaded"}
      action={code === "simd" ? null : { name: "Try again", run: () => void choose(model.choice) }}
    >
      {sentence(model.error.message)} {code && <code>{code}</code>}
    </Notice>
  );
}
