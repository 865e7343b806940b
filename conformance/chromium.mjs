// Scores texts with the component in Chromium, without a window.
//
//   node chromium.mjs ARTEFACT TEXTS COUNT FOLDER OUTPUT
//
// TEXTS has one JSON string a line; the first COUNT are scored. FOLDER takes the transpiled component and Chromium's profile, OUTPUT
// the scores. The environment variable CHROMIUM names another browser, and CHROMIUM_FLAGS one more argument of it. A page of a server on this machine does the work and sends the scores back, so nothing drives the browser.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { transpile } from "./transpile.mjs";

/** Longest time from the start of Chromium to the scores, on a machine that others use too. */
const TIME_MS_MAX = 900_000;
/** Longest time that it may take to end. */
const END_MS_MAX = 30_000;
const TYPES = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

const [artefact, texts, count, folder, output] = process.argv.slice(2);
await transpile(artefact, folder);

const page = `<!doctype html><script type="module">
  const send = (path, body) => fetch(path, { method: "POST", body });
  try {
    const { firstTexts, scores } = await import("/scores.mjs");
    const { classifier } = await import("/classifier.js");
    const texts = await (await fetch("/texts")).text();
    await send("/scores", scores(classifier, firstTexts(texts, ${Number(count)})));
  } catch (error) {
    await send("/failure", String(error));
  }
</script>`;

/** Resolves with the scores, or rejects with what went wrong in the page. */
function served(server) {
  return new Promise((resolve, reject) => {
    server.on("request", async (request, response) => {
      const { pathname } = new URL(request.url, "http://localhost");
      try {
        if (request.method === "POST") {
          const body = Buffer.concat(await request.toArray());
          response.end();
          if (pathname === "/scores") resolve(body);
          else reject(new Error(`the page failed: ${body}`));
          return;
        }
        const file = { "/texts": texts, "/scores.mjs": new URL("scores.mjs", import.meta.url) }[pathname];
        const content = pathname === "/" ? page : await readFile(file ?? join(folder, pathname));
        response.setHeader("content-type", TYPES[extname(pathname)] ?? "text/html; charset=utf-8");
        response.end(content);
      } catch {
        response.statusCode = 404; // the icon, which nobody has
        response.end();
      }
    });
  });
}

const server = createServer();
const scores = served(server);
server.listen(0, "127.0.0.1");
await once(server, "listening");

const profile = join(folder, "profile");
const browser = spawn(
  process.env.CHROMIUM ?? "chromium",
  [
    "--headless=new",
    "--no-sandbox", // it reads nothing but our own page, and root has no sandbox
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    `--user-data-dir=${profile}`,
    ...(process.env.CHROMIUM_FLAGS ? [process.env.CHROMIUM_FLAGS] : []),
    `http://127.0.0.1:${server.address().port}/`,
  ],
  { stdio: ["ignore", "ignore", "pipe"] },
);
let said = "";
browser.stderr.on("data", (data) => (said = (said + data).slice(-2_000)));
const ended = once(browser, "exit").then(([status]) => Promise.reject(new Error(`chromium ended with ${status}: ${said}`)));
const late = new Promise((_, reject) => {
  setTimeout(() => reject(new Error(`no scores after ${TIME_MS_MAX} ms: ${said}`)), TIME_MS_MAX).unref();
});
try {
  await writeFile(output, await Promise.race([scores, ended, late]));
} finally {
  ended.catch(() => {});
  browser.kill();
  setTimeout(() => browser.kill("SIGKILL"), END_MS_MAX).unref();
  server.closeAllConnections();
  server.close();
}
await ended.catch(() => {});
// Its last processes may write there a moment longer than the first one lives.
await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }).catch(() => {});
