// What callers see.
import type { Classification, Description } from "./contract/interface.js";
import type { ModerationError } from "./errors.js";

/** How far loading is. */
export interface Progress {
  /** Bytes of the artefact that are here, uncompressed. */
  loaded: number;
  /** Bytes of the whole; null where neither the caller nor the server says. */
  total: number | null;
  /** Where they come from. */
  from: "cache" | "network";
}

/** What to load. */
export interface LoadOptions {
  /** Address of the artefact (`palisade-*-strict.wasm`), relative to the page; under Node a path or a file URL does too. */
  artefact: string | URL;
  /**
   * SHA-256 of the file, as `palisade inspect` and `sha256sum` tell it. Only where the address holds the 64 digits may it be left out.
   */
  sha256?: string;
  /** Bytes of the file, for progress in compressed answers, and to refuse a cut file early. */
  bytes?: number;
  /**
   * Whether to keep a copy in the browser's Cache API, by digest, and to look there first. True by default. Of an origin's copies those of the
   * two artefacts used last stay.
   */
  cache?: boolean;
  /** Is told as bytes arrive. */
  onProgress?: (progress: Progress) => void;
  /** Is told what went wrong without being in the way: today, that no copy is kept (`quota`). */
  onWarning?: (warning: ModerationError) => void;
  /** Gives up loading. */
  signal?: AbortSignal;
  /** Makes the worker, where a bundler or a Content-Security-Policy wants its own way: one that runs `@palisade/moderation/worker.js`. */
  worker?: () => Worker;
}

/** What one call wants. */
export interface ClassifyOptions {
  /** Names of the wanted labels; all by default. */
  labels?: readonly string[];
  /** Scores for each sentence too. */
  spans?: boolean;
  /** The effect of each word too. Costs a pass of the model for each word. */
  words?: boolean;
  /** Gives up the call: it rejects with the signal's reason, and the worker is free again. */
  signal?: AbortSignal;
}

/** The results of one call, with the release that gave them. */
export interface Classified extends Classification {
  /** Milliseconds that the worker computed. */
  milliseconds: number;
}

/** What loading cost. */
export interface Loading {
  /** Address of the artefact. */
  url: string;
  /** SHA-256 of the artefact, verified. */
  sha256: string;
  /** Bytes of the artefact. */
  bytes: number;
  /** Bytes that came over the network, compressed, with headers; 0 from the cache, null where the browser does not tell. */
  transferred: number | null;
  from: "cache" | "network";
  /** Milliseconds to have the verified bytes, and to compile and start them. */
  obtainedMs: number;
  startedMs: number;
}

/** A loaded release. */
export interface Classifier {
  /** What it is: release, labels with thresholds, languages, limits. */
  readonly description: Description;
  /** What loading cost. */
  readonly loading: Loading;
  /** Whether the browser keeps a copy, so that the next visit needs no network. Known a moment after loading. */
  readonly stored: Promise<boolean>;
  /** Scores texts, in their order. */
  classify(texts: readonly string[], options?: ClassifyOptions): Promise<Classified>;
  /** Ends the worker. Calls under way reject with `closed`. */
  close(): void;
}
