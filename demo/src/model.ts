// The one classifier of the page, and what it has cost.
import { load, ModerationError, type Classifier, type Progress } from "@palisade/moderation";
import { useEffect, useState } from "preact/hooks";
import { releases, type ReleaseChoice } from "./releases";

/** Where loading is. */
export type Model =
  | { state: "loading"; choice: ReleaseChoice; progress: Progress | null }
  | { state: "ready"; choice: ReleaseChoice; classifier: Classifier; warning: string | null; stored: boolean | null }
  | { state: "failed"; choice: ReleaseChoice; error: Error };

const KEY = "palisade-release";
let model: Model = { state: "loading", choice: remembered(), progress: null };
let attempt: AbortController | null = null;
const listeners = new Set<() => void>();

function remembered(): ReleaseChoice {
  const id = storage()?.getItem(KEY);
  return releases.find((release) => release.id === id) ?? (releases[0] as ReleaseChoice);
}

/** Storage may be switched off, and then even its name throws. */
export function storage(): Storage | null {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

function change(next: Model): void {
  model = next;
  for (const listener of listeners) listener();
}

/** Loads a release in place of the one that is there. */
export async function choose(choice: ReleaseChoice): Promise<void> {
  attempt?.abort();
  if (model.state === "ready") model.classifier.close();
  const mine = (attempt = new AbortController());
  try {
    storage()?.setItem(KEY, choice.id);
  } catch {
    // no room: the choice is forgotten
  }
  change({ state: "loading", choice, progress: null });
  let warning: string | null = null;
  const update = (part: Partial<Model & { state: "ready" }>): void => {
    if (mine === attempt && model.state === "ready") change({ ...model, ...part });
  };
  try {
    const classifier = await load({
      artefact: choice.url,
      sha256: choice.sha256,
      bytes: choice.bytes,
      signal: mine.signal,
      onProgress: (progress) => mine === attempt && model.state === "loading" && change({ ...model, progress }),
      onWarning: (problem) => {
        warning = problem.message;
        update({ warning });
      },
    });
    change({ state: "ready", choice, classifier, warning, stored: null });
    // With the first call the engine gets its final code; the reader's first letter need not wait for that.
    await classifier.classify(["A first text, so that the next one is quick."]).catch(() => {});
    update({ stored: await classifier.stored });
  } catch (error) {
    if (mine === attempt) change({ state: "failed", choice, error: error instanceof Error ? error : new Error(String(error)) });
  }
}

/** The model as it is, and again when it changes. */
export function useModel(): Model {
  const [, redraw] = useState({});
  useEffect(() => {
    const listener = (): void => redraw({});
    listeners.add(listener);
    listener();
    return () => void listeners.delete(listener);
  }, []);
  return model;
}

/** Whether an error is a signal's, and so nobody's news. */
export function isAbort(error: unknown): boolean {
  return (error instanceof DOMException && error.name === "AbortError") || (error instanceof ModerationError && error.code === "closed");
}

void choose(model.choice);
