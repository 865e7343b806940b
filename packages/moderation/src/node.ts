/** The same under Node, where the worker is a thread, and the artefact may be a file. */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { open, type Spawn } from "./client.js";
import type { Answer } from "./serving.js";
import type { Classifier, LoadOptions } from "./types.js";

export * from "./public.js";

/** Fetches or reads, verifies and starts an artefact in a thread. Throws `ModerationError`, or the signal's reason. */
export async function load(options: LoadOptions): Promise<Classifier> {
  const artefact = String(options.artefact);
  const url = /^[a-z]{2,}:/i.test(artefact) ? artefact : pathToFileURL(resolve(artefact)).href;
  return open({ ...options, cache: false }, url, spawn);
}

const spawn: Spawn = (answered, failed) => {
  // Without the program's own flags, of which not every one is for threads (`--input-type`).
  const worker = new Worker(new URL("./node-worker.js", import.meta.url), { name: "palisade", execArgv: [] });
  worker.on("message", (answer: Answer) => answered(answer));
  worker.on("error", (error) => failed(error instanceof Error ? error.message : String(error)));
  // A thread at rest does not keep the program from ending; one that loads or scores does.
  return {
    post: (order) => worker.postMessage(order),
    hold: (waiting) => (waiting ? worker.ref() : worker.unref()),
    terminate: () => void worker.terminate(),
  };
};
