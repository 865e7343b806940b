// The worker's thread under Node.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { parentPort } from "node:worker_threads";
import { serve } from "./serving.js";

/** A file as an answer; `fetch` for everything else. */
async function opened(url: string): Promise<Response> {
  if (!url.startsWith("file:")) return fetch(url);
  const path = fileURLToPath(url);
  const found = await stat(path).catch(() => null);
  if (!found?.isFile()) return new Response(null, { status: 404 });
  const stream = Readable.toWeb(createReadStream(path)) as ReadableStream<Uint8Array<ArrayBuffer>>;
  return new Response(stream, { headers: { "content-length": String(found.size) } });
}

const take = serve((answer) => parentPort?.postMessage(answer), opened);
parentPort?.on("message", take);
