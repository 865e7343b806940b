// The one classifier of the page, and what it has cost.
import { load, ModerationError, type Classifier, type Progress } from "@palisade/moderation";
import { useEffect, useState } from "preact/hooks";
import type { Asked } from "./classifier-worker";
import { addRequests } from "./left";
import { releases, type ReleaseChoice } from "./releases";
import { local, remember } from "./storage";

/** Where loading is. */
export type Model =
  | { state: "loading"; choice: ReleaseChoice; progress: Progress | null }
  | { state: "ready"; choice: ReleaseChoice; classifier: Classifier; warning: string | null; stored: boolean | null }
  /** `hasRun`: it was there, and stopped. */
  | { state: "failed"; choice: ReleaseChoice; error: Error; hasRun: boolean };

const KEY = "palisade-release";
let model: Model = { state: "loading", choice: remembered(), progress: null };
let attempt: AbortController | null = null;
const listeners = new Set<() => void>();

function remembered(): ReleaseChoice {
  const id = local.getItem(KEY);
  return releases.find((release) => release.id === id) ?? (releases[0] as ReleaseChoice);
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
  remember(local, KEY, choice.id);
  change({ state: "loading", choice, progress: null });
  let warning: string | null = null;
  const update = (part: Partial<Model & { state: "ready" }>): void => {
    if (mine === attempt && model.state === "ready") change({ ...model, ...part });
  };
  try {
    const loaded = await load({
      artefact: choice.url,
      sha256: choice.sha256,
      bytes: choice.bytes,
      signal: mine.signal,
      worker: observedWorker,
      onProgress: (progress) => mine === attempt && model.state === "loading" && change({ ...model, progress }),
      onWarning: (problem) => {
        warning = problem.message;
        update({ warning });
      },
    });
    const classifier = watched(loaded, (error) => {
      if (mine === attempt && model.state === "ready") change({ state: "failed", choice, error, hasRun: true });
    });
    change({ state: "ready", choice, classifier, warning, stored: null });
    // With the first call the engine gets its final code; the reader's first letter need not wait for that.
    await classifier.classify(["A first text, so that the next one is quick."]).catch(() => {});
    update({ stored: await classifier.stored });
  } catch (error) {
    if (mine === attempt) change({ state: "failed", choice, error: error instanceof Error ? error : new Error(String(error)), hasRun: false });
  }
}

/** A worker whose requests are counted. */
function observedWorker(): Worker {
  const worker = new Worker(new URL("./classifier-worker.ts", import.meta.url), { type: "module", name: "palisade" });
  worker.addEventListener("message", ({ data }: MessageEvent<Partial<Asked>>) => data.asked && addRequests(data.asked));
  return worker;
}

/** What ends a classifier, or may: the worker is gone, or has no memory. */
const ENDS = new Set<unknown>(["worker", "memory", "artefact"]);

/** The same classifier, closed and told of where a call finds that all later ones will fail too. */
function watched(classifier: Classifier, onEnd: (error: ModerationError) => void): Classifier {
  const { description, loading, stored } = classifier;
  const close = (): void => classifier.close();
  const classify: Classifier["classify"] = (texts, options) =>
    classifier.classify(texts, options).catch((error: unknown) => {
      if (error instanceof ModerationError && ENDS.has(error.code)) {
        close();
        onEnd(error);
      }
      throw error;
    });
  return { description, loading, stored, classify, close };
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
