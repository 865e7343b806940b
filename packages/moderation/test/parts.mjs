// What the tests share: a server of files with faults, Chromium, the golden cases.
import { once } from "node:events";
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".json": "application/json",
  ".mjs": "text/javascript",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

/**
 * Serves folders and files: `mounts` has pairs of a path's beginning and what lies there, the first that fits wins. A function in place of a
 * path answers itself. A brotli copy beside a file is sent in its place, and `headers` with every file. `requests` lists the paths asked for.
 */
export async function serve(mounts, headers = {}) {
  const requests = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    requests.push(path);
    const [prefix, target] = mounts.find(([prefix]) => path.startsWith(prefix)) ?? [];
    if (typeof target === "function") return void target(request, response);
    try {
      let file = target === undefined ? "" : normalize(join(target, path.slice(prefix.length)));
      if (file.endsWith("/")) file = statSync(file.slice(0, -1)).isFile() ? file.slice(0, -1) : join(file, "index.html");
      if (statSync(file).isDirectory()) file = join(file, "index.html");
      response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
      if (existsSync(`${file}.br`) && request.headers["accept-encoding"]?.includes("br")) {
        response.setHeader("content-encoding", "br");
        file += ".br";
      }
      response.setHeader("content-length", statSync(file).size);
      response.setHeader("cache-control", "no-store");
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
      createReadStream(file).pipe(response);
    } catch {
      response.statusCode = 404;
      response.end("nothing here");
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}`, requests, close };
}

/** A browser without a window. The environment variable CHROMIUM names another than Debian's. */
export function browse(...flags) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    timeout: 120_000,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", ...flags],
  });
}

/** The golden cases of the default release. */
export function cases() {
  const file = new URL("../../../models/english-toxicity/cases.jsonl", import.meta.url);
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

/** The names of the cases whose result differs from what the component gives under wasmtime, in one bit or more. */
export function differing(cases, labels, results) {
  const same = (wanted, scores) =>
    Object.keys(wanted).length === labels.length && labels.every((label, i) => Object.is(Math.fround(wanted[label]), scores[i]));
  const sameSpan = (wanted, span) =>
    span && wanted.start === span.start && wanted.end === span.end && wanted.truncated === span.truncated && same(wanted.scores, span.scores);
  return cases
    .filter((wanted, i) => {
      const result = results[i];
      return !(
        result &&
        result.truncated === wanted.truncated &&
        result.spansTruncated === wanted.spans_truncated &&
        same(wanted.scores, result.scores) &&
        result.spans.length === wanted.spans.length &&
        wanted.spans.every((span, at) => sameSpan(span, result.spans[at]))
      );
    })
    .map(({ id }) => id);
}

/** Halves of a list, and so on, of at most `size` each: what one call takes. */
export function batches(list, size) {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, at) => list.slice(at * size, (at + 1) * size));
}
