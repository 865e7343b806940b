// Many texts, in small calls, so that one can stop, and see them arrive.
import { ModerationError, type Classifier, type Verdict } from "@palisade/moderation";

/** What became of a text: a verdict, or no scores to have one from. */
export type Outcome = Verdict | "failed";

/** Scores as they arrive, a row of `labels.length` numbers a text. */
export interface Scoring {
  texts: string[];
  labels: string[];
  scores: Float32Array;
  truncated: Uint8Array;
  /** Texts that the engine failed on: their scores stay 0, and mean nothing. */
  failed: Set<number>;
  /** Texts that are done, from the front. */
  done: number;
  /** Milliseconds that the worker computed. */
  milliseconds: number;
}

const CALL_TEXTS = 16;
/** No release reads more bytes of a text, and a character has at least one. */
const READ_MAX = 20_481;

export function begun(texts: string[], labels: string[]): Scoring {
  return { texts, labels, scores: new Float32Array(texts.length * labels.length), truncated: new Uint8Array(texts.length), failed: new Set(), done: 0, milliseconds: 0 };
}

/** Scores everything; `onProgress` is told after each call. */
export async function score(scoring: Scoring, classifier: Classifier, signal: AbortSignal, onProgress: () => void): Promise<void> {
  const { texts } = scoring;
  while (scoring.done < texts.length) {
    const from = scoring.done;
    const part = texts.slice(from, from + CALL_TEXTS).map((text) => text.slice(0, READ_MAX));
    try {
      await call(scoring, classifier, from, part, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!isEngine(error)) throw error;
      for (const [i, text] of part.entries()) await callAlone(scoring, classifier, from + i, text, signal);
    }
    scoring.done = from + part.length;
    onProgress();
  }
}

/** One text by itself, which fails without the others. */
async function callAlone(scoring: Scoring, classifier: Classifier, at: number, text: string, signal: AbortSignal): Promise<void> {
  try {
    await call(scoring, classifier, at, [text], signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!isEngine(error)) throw error;
    scoring.failed.add(at);
  }
}

function isEngine(error: unknown): boolean {
  return error instanceof ModerationError && error.code === "engine";
}

async function call(scoring: Scoring, classifier: Classifier, from: number, texts: string[], signal: AbortSignal): Promise<void> {
  const { results, milliseconds } = await classifier.classify(texts, { signal });
  results.forEach(({ scores, truncated }, i) => {
    scoring.scores.set(scores, (from + i) * scoring.labels.length);
    scoring.truncated[from + i] = truncated ? 1 : 0;
  });
  scoring.milliseconds += milliseconds;
}

/** Counts of scores in equal bins of [0,1]. */
export function histogram({ scores, labels, failed, done }: Scoring, label: number, bins: number): number[] {
  const counts = new Array<number>(bins).fill(0);
  for (let i = 0; i < done; i += 1) {
    if (failed.has(i)) continue;
    const bin = Math.min(bins - 1, Math.floor((scores[i * labels.length + label] ?? 0) * bins));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return counts;
}
