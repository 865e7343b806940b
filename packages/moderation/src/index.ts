/**
 * Palisade's classifier in a page: fetched, verified by digest, and run in a worker.
 *
 * ```js
 * const classifier = await load({ artefact: "/palisade-small-strict.wasm", sha256: "6d23…" });
 * const { release, labels, results } = await classifier.classify(["Thank you!"]);
 * ```
 */
import { open, type Spawn } from "./client.js";
import { ModerationError } from "./errors.js";
import type { Answer } from "./serving.js";
import type { Classifier, LoadOptions } from "./types.js";

export * from "./public.js";

/** Fetches, verifies and starts an artefact in a worker. Throws `ModerationError`, or the signal's reason. */
export async function load(options: LoadOptions): Promise<Classifier> {
  return open(options, new URL(options.artefact, document.baseURI).href, spawning(options));
}

function spawning({ worker }: LoadOptions): Spawn {
  return (answered, failed) => {
    if (typeof Worker === "undefined") throw new ModerationError({ code: "worker", reason: "there are no workers here" });
    const started = worker ? worker() : new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "palisade" });
    started.addEventListener("message", ({ data }: MessageEvent<Answer>) => answered(data));
    started.addEventListener("error", (event) => failed(event.message || "its script was not loaded"));
    return { post: (order) => started.postMessage(order), terminate: () => started.terminate() };
  };
}
