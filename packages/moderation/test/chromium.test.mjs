// The package in Chromium, as plain ES modules.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { artefacts } from "../scripts/artefacts.mjs";
import { browse, cases, differing, serve } from "./parts.mjs";

const [regular, small] = artefacts();
/** A third artefact: the small one with an empty custom section, `a`, at its end. */
const third = Buffer.concat([readFileSync(small.path), Buffer.from([0, 2, 1, 0x61])]);
const thirdSha256 = createHash("sha256").update(third).digest("hex");
const page = `<!doctype html><title>test</title><script type="module">
  import * as palisade from "/dist/index.js";
  window.palisade = palisade;
  window.wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  window.long = "a few words that take their time to be read ".repeat(36);
  // Workers whose script comes late, or not at all, counted, and which of them was the last to score.
  window.workers = 0;
  window.lateWorker = () => {
    const worker = new Worker("/late/worker.js", { type: "module" });
    const number = (window.workers += 1);
    worker.addEventListener("message", ({ data }) => data.type === "scored" && (window.scorer = number));
    worker.addEventListener("error", () => (window.failed = number));
    return worker;
  };
  // A call of many seconds that is cancelled in the middle: starting another worker takes a fraction of one.
  window.cancelled = async (classifier, texts = 8) => {
    const stale = new AbortController();
    const slow = classifier.classify(Array(texts).fill(long), { words: true, signal: stale.signal });
    await wait(50);
    stale.abort();
    return slow.catch((error) => error.name);
  };
</script>`;
const SCRIPT = { "content-type": "text/javascript", "cache-control": "no-store" };
/** What `/late/worker.js` waits for before it answers; where this is null it never does. */
let late = Promise.resolve();
let server;
let browser;

before(async () => {
  server = await serve([
    ["/late/worker.js", (_, response) => (late ? late.then(() => response.writeHead(200, SCRIPT).end('import "/dist/worker.js";')) : response.destroy())],
    ["/dist/", fileURLToPath(new URL("../dist/", import.meta.url))],
    ["/regular.wasm", regular.path],
    ["/small.wasm", small.path],
    ["/other.wasm", small.path],
    ["/third.wasm", (_, response) => response.end(third)],
    ["/gone.wasm", (request) => request.socket.destroy()],
    ["/policy", (_, response) => response.writeHead(200, { "content-type": "text/html", "content-security-policy": "worker-src 'none'" }).end(page)],
    ["/", (_, response) => response.writeHead(200, { "content-type": "text/html" }).end(page)],
  ]);
  browser = await browse();
});

after(async () => {
  await browser?.close();
  await server.close();
});

/** A page with the package loaded, in a profile of its own. */
async function opened(path = "/", from = browser) {
  const context = await from.newContext();
  context.setDefaultTimeout(300_000);
  const page = await context.newPage();
  await page.goto(server.url + path);
  await page.waitForFunction("window.palisade");
  return { page, context };
}

/** Loads, and gives what loading cost or the code of what was thrown. */
const loading = (page, options) =>
  page.evaluate(async (options) => {
    const warnings = [];
    try {
      const classifier = await palisade.load({ ...options, onWarning: ({ code }) => warnings.push(code) });
      const stored = await classifier.stored;
      const { results } = await classifier.classify(["hello"]);
      classifier.close();
      return { ...classifier.loading, stored, warnings, results: results.length };
    } catch (error) {
      return { code: error.code, message: error.message };
    }
  }, options);

test("the golden cases have the same bits as under wasmtime", async () => {
  const golden = cases();
  const { page, context } = await opened();
  const { labels, results, release } = await page.evaluate(
    async ([texts, sha256]) => {
      const classifier = await palisade.load({ artefact: "/regular.wasm", sha256 });
      const { textsMax } = classifier.description.limits;
      const all = [];
      for (let at = 0; at < texts.length; at += textsMax) all.push(await classifier.classify(texts.slice(at, at + textsMax), { spans: true }));
      // Numbers travel as decimals, which name a double exactly.
      const plain = (result) => ({ ...result, scores: Array.from(result.scores) });
      const results = all.flatMap(({ results }) => results).map((result) => ({ ...plain(result), spans: result.spans.map(plain) }));
      return { labels: all[0].labels, release: all[0].release, results };
    },
    [golden.map(({ text }) => text), regular.sha256],
  );
  assert(golden.length > 0);
  assert.equal(release.name, "english-toxicity");
  assert.deepEqual(differing(golden, labels, results), []);
  await context.close();
});

test("a second visit takes the copy, by digest, wherever it came from, and asks nobody", async () => {
  const { page, context } = await opened();
  const first = await loading(page, { artefact: "/small.wasm", sha256: small.sha256 });
  assert.deepEqual([first.from, first.stored, first.results, first.bytes], ["network", true, 1, small.bytes]);
  assert(first.transferred >= small.bytes);
  const second = await loading(page, { artefact: "/other.wasm", sha256: small.sha256 });
  assert.deepEqual([second.from, second.transferred, second.stored], ["cache", 0, true]);
  assert(!server.requests.includes("/other.wasm"));
  assert.equal((await loading(page, { artefact: "/gone.wasm", sha256: regular.sha256 })).code, "network");
  await context.close();
});

test("a damaged copy is fetched anew", async () => {
  const { page, context } = await opened();
  await page.evaluate(async (sha256) => {
    const cache = await caches.open("palisade-artefacts");
    await cache.put(`/palisade-artefacts/${sha256}`, new Response("something else"));
  }, small.sha256);
  assert.equal((await loading(page, { artefact: "/small.wasm", sha256: small.sha256 })).from, "network");
  assert.equal((await loading(page, { artefact: "/small.wasm", sha256: small.sha256 })).from, "cache");
  await context.close();
});

test("without room for a copy it works all the same, and says so", async () => {
  const { page, context } = await opened();
  const session = await context.newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: server.url, quotaSize: 1_000_000 });
  const loaded = await loading(page, { artefact: "/small.wasm", sha256: small.sha256 });
  assert.deepEqual([loaded.from, loaded.stored, loaded.warnings, loaded.results], ["network", false, ["quota"], 1], loaded.message);
  await context.close();
});

test("of the copies those of the two artefacts used last are kept", async () => {
  const { page, context } = await opened();
  const from = async (artefact, sha256) => (await loading(page, { artefact, sha256 })).from;
  assert.equal(await from("/small.wasm", small.sha256), "network");
  assert.equal(await from("/regular.wasm", regular.sha256), "network");
  assert.equal(await from("/gone.wasm", small.sha256), "cache");
  assert.equal(await from("/third.wasm", thirdSha256), "network");
  const names = await page.evaluate(async () => (await (await caches.open("palisade-artefacts")).keys()).map(({ url }) => url.split("/").at(-1)));
  assert.deepEqual(names.sort(), [small.sha256, thirdSha256, "used"].sort());
  assert.equal(await from("/gone.wasm", small.sha256), "cache");
  assert.equal(await from("/gone.wasm", thirdSha256), "cache");
  await context.close();
});

test("where there is no room for another copy the old ones go", async () => {
  const { page, context } = await opened();
  const session = await context.newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: server.url, quotaSize: regular.bytes + small.bytes / 2 });
  assert.deepEqual([(await loading(page, { artefact: "/regular.wasm", sha256: regular.sha256 })).stored], [true]);
  const loaded = await loading(page, { artefact: "/small.wasm", sha256: small.sha256 });
  assert.deepEqual([loaded.from, loaded.stored, loaded.warnings, loaded.results], ["network", true, [], 1], loaded.message);
  assert.equal((await loading(page, { artefact: "/gone.wasm", sha256: small.sha256 })).from, "cache");
  await context.close();
});

test("a wrong digest, a missing file, a page that is no file", async () => {
  const { page, context } = await opened();
  assert.equal((await loading(page, { artefact: "/small.wasm", sha256: regular.sha256 })).code, "digest");
  assert.equal((await loading(page, { artefact: "/", sha256: regular.sha256 })).code, "digest");
  assert.equal((await loading(page, { artefact: "/dist/nothing.wasm", sha256: regular.sha256 })).code, "http");
  assert.equal((await loading(page, { artefact: "/small.wasm" })).code, "argument");
  await context.close();
});

test("a page that forbids workers is told so", async () => {
  const { page, context } = await opened("/policy");
  assert.equal((await loading(page, { artefact: "/small.wasm", sha256: small.sha256 })).code, "worker");
  await context.close();
});

test("without SIMD nothing is fetched", { skip: process.arch !== "x64" && "only x64 can switch it off" }, async () => {
  const old = await browse("--js-flags=--no-enable-sse4-1 --no-enable-ssse3");
  try {
    const { page } = await opened("/", old);
    const before = server.requests.length;
    assert.equal((await loading(page, { artefact: "/small.wasm", sha256: small.sha256 })).code, "simd");
    assert(!server.requests.slice(before).includes("/small.wasm"));
  } finally {
    await old.close();
  }
});

test("typing on cancels what is under way", async () => {
  const { page, context } = await opened();
  const outcome = await page.evaluate(async (sha256) => {
    const classifier = await palisade.load({ artefact: "/regular.wasm", sha256, worker: lateWorker });
    await classifier.classify([long]);
    const slow = await cancelled(classifier, 64);
    const { results } = await classifier.classify([long]);
    return { slow, results: results.length, scorer };
  }, regular.sha256);
  // Another worker answered, while the first was in the middle of what had been cancelled.
  assert.deepEqual(outcome, { slow: "AbortError", results: 1, scorer: 2 });
  await context.close();
});

test("the copy is completed though the worker that writes it is replaced", async () => {
  const { page, context } = await opened();
  const outcome = await page.evaluate(async (sha256) => {
    const classifier = await palisade.load({ artefact: "/small.wasm", sha256, worker: lateWorker });
    const slow = await cancelled(classifier);
    const { results } = await classifier.classify(["hello"]);
    const stored = await Promise.race([classifier.stored, wait(120_000).then(() => "not settled")]);
    classifier.close();
    return { slow, results: results.length, stored, workers };
  }, small.sha256);
  assert.deepEqual(outcome, { slow: "AbortError", results: 1, stored: true, workers: 2 });
  assert.equal((await loading(page, { artefact: "/gone.wasm", sha256: small.sha256 })).from, "cache");
  await context.close();
});

test("`stored` settles where the classifier is closed while the copy is written", async () => {
  const { page, context } = await opened();
  const stored = await page.evaluate(async (sha256) => {
    const classifier = await palisade.load({ artefact: "/small.wasm", sha256 });
    await cancelled(classifier);
    await classifier.classify(["hello"]);
    classifier.close();
    return Promise.race([classifier.stored, wait(120_000).then(() => "not settled")]);
  }, small.sha256);
  assert.equal(typeof stored, "boolean");
  await context.close();
});

test("a worker stays where no other can be started, and is replaced again when one can", async () => {
  const { page, context } = await opened();
  const load = () =>
    page.evaluate(async (sha256) => {
      window.classifier = await palisade.load({ artefact: "/regular.wasm", sha256, worker: () => (window.refuse ? window.refuse() : lateWorker()) });
      await classifier.stored;
    }, regular.sha256);
  const outcome = (texts) =>
    page.evaluate(async (texts) => {
      const slow = await cancelled(classifier, texts);
      const next = await classifier.classify(["hello"]).then(({ results }) => results.length, (error) => error.message);
      return { slow, next, workers, scorer };
    }, texts);
  await load();
  late = null;
  const offline = await outcome(2);
  await page.waitForFunction("window.failed === 2");
  late = Promise.resolve();
  const again = await outcome(8);
  await page.evaluate("window.refuse = () => { throw new Error('no more workers'); }");
  const refused = await outcome(2);
  assert.deepEqual(offline, { slow: "AbortError", next: 1, workers: 2, scorer: 1 });
  assert.deepEqual(again, { slow: "AbortError", next: 1, workers: 3, scorer: 3 });
  assert.deepEqual(refused, { slow: "AbortError", next: 1, workers: 3, scorer: 3 });
  await context.close();
});

test("a worker that is slow to start is waited for", async () => {
  const { page, context } = await opened();
  await page.evaluate(async (sha256) => void (window.classifier = await palisade.load({ artefact: "/regular.wasm", sha256, worker: lateWorker })), regular.sha256);
  let arrive;
  late = new Promise((resolve) => (arrive = resolve));
  await page.evaluate(async () => {
    await cancelled(classifier);
    // Someone who types on, and waits for nothing.
    for (let letter = 0; letter < 5; letter += 1) {
      const typed = new AbortController();
      classifier.classify(["hello"], { signal: typed.signal }).catch(() => {});
      await wait(150);
      typed.abort();
    }
  });
  arrive();
  const outcome = await page.evaluate(async () => {
    const { results } = await classifier.classify(["hello"]);
    return { results: results.length, workers, scorer };
  });
  assert.deepEqual(outcome, { results: 1, workers: 2, scorer: 2 });
  await context.close();
});
