// The package under Node: the golden cases, and everything that may go wrong.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { judge, load, ModerationError, toUtf16 } from "@palisade/moderation";
import { artefacts } from "../scripts/artefacts.mjs";
import { batches, cases, differing, serve } from "./parts.mjs";

const [regular, small] = artefacts();
const folder = mkdtempSync(join(tmpdir(), "palisade-moderation-"));
const sha256 = (content) => createHash("sha256").update(content).digest("hex");
/** A text that takes its time, most of all word by word. */
const LONG = "a few words that take their time to be read ".repeat(12);
let server;
let classifier;
/** Ends the connection that has a part of the artefact. */
let cut;

/** A file with a name by its digest. */
function written(content) {
  const path = join(folder, `${sha256(content)}.wasm`);
  writeFileSync(path, content);
  return path;
}

const refusal = (options) =>
  load(options).then(
    (classifier) => {
      classifier.close();
      throw new Error("it was loaded");
    },
    (error) => {
      assert(error instanceof ModerationError, String(error));
      return error;
    },
  );

/** Counts the workers that start from now until `end`, and how often one of them scored. */
function counted() {
  const counts = { started: 0, scored: 0 };
  const started = (worker) => {
    counts.started += 1;
    worker.on("message", ({ type }) => type === "scored" && (counts.scored += 1));
  };
  process.on("worker", started);
  return { end: () => (process.off("worker", started), counts) };
}

/** What a program of its own says, and its exit status; null where it did not end. */
function ran(script) {
  const root = new URL("..", import.meta.url);
  const { stdout, status } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { cwd: root, encoding: "utf8", timeout: 120_000 });
  return [stdout, status];
}

before(async () => {
  server = await serve([
    ["/cut", (_, response) => ((cut = () => response.destroy()), response.writeHead(200, { "content-length": small.bytes }), response.write(readFileSync(small.path).subarray(0, 1_000_000)))],
    ["/short", (_, response) => response.end(readFileSync(small.path).subarray(0, 1_000_000))],
    ["/broken", (_, response) => (response.writeHead(503), response.end("not now"))],
    ["/page", (_, response) => response.end("<!doctype html><title>Not found</title>")],
    ["/small.wasm", small.path],
  ]);
  classifier = await load({ artefact: small.path, sha256: small.sha256 });
});

after(async () => {
  classifier.close();
  await server.close();
  rmSync(folder, { recursive: true, maxRetries: 10, retryDelay: 100 });
});

test("the golden cases have the same bits as under wasmtime", async () => {
  const golden = cases();
  const classifier = await load({ artefact: regular.path, sha256: regular.sha256, bytes: regular.bytes });
  const results = [];
  let labels;
  for (const batch of batches(golden.map(({ text }) => text), classifier.description.limits.textsMax)) {
    const classified = await classifier.classify(batch, { spans: true });
    assert.deepEqual(classified.release, classifier.description.release);
    labels = classified.labels;
    results.push(...classified.results);
  }
  classifier.close();
  assert.equal(results.length, golden.length);
  assert(golden.length > 0);
  assert.deepEqual(differing(golden, labels, results), []);
});

test("every result carries the release", async () => {
  const { release } = await classifier.classify(["hello"]);
  assert.equal(release.name, "english-toxicity-small");
  assert.match(release.version, /^\d+\.\d+\.\d+$/);
  assert.match(release.digest, /^[0-9a-f]{64}$/);
});

test("progress counts bytes up to the whole", async () => {
  const seen = [];
  const artefact = `${server.url}/small.wasm?${small.sha256}`;
  const loaded = await load({ artefact, sha256: small.sha256, onProgress: (progress) => seen.push(progress) });
  loaded.close();
  assert.equal(seen.at(-1).loaded, small.bytes);
  assert.equal(seen.at(-1).total, small.bytes);
  assert(seen.every(({ loaded }, i) => i === 0 || loaded >= seen[i - 1].loaded));
  assert(seen.length > 3);
});

test("an address without the digest is refused, and one that has it needs no other", async () => {
  assert.equal((await refusal({ artefact: small.path })).code, "argument");
  assert.equal((await refusal({ artefact: small.path, sha256: small.sha256.toUpperCase() })).code, "argument");
  (await load({ artefact: written(readFileSync(small.path)) })).close();
});

test("no network, a missing file, an overloaded server", async () => {
  const gone = await serve([]);
  await gone.close();
  const unreached = await refusal({ artefact: `${gone.url}/a.wasm`, sha256: small.sha256 });
  assert.deepEqual(unreached.problem, { code: "network", url: `${gone.url}/a.wasm`, received: null });
  assert.match(unreached.message, /cannot be reached/);
  const missing = await refusal({ artefact: `${server.url}/nothing`, sha256: small.sha256 });
  assert.deepEqual(missing.problem, { code: "http", url: `${server.url}/nothing`, status: 404 });
  assert.equal((await refusal({ artefact: `${server.url}/broken`, sha256: small.sha256 })).problem.status, 503);
  assert.equal((await refusal({ artefact: join(folder, "nothing.wasm"), sha256: small.sha256 })).code, "http");
});

test("a connection that ends early, and a file that is shorter than it should be", async () => {
  // The connection ends when some bytes have come: what is not read by then is lost.
  const part = await refusal({ artefact: `${server.url}/cut`, sha256: small.sha256, onProgress: ({ loaded }) => loaded > 0 && cut() });
  assert.equal(part.code, "network");
  assert(part.problem.received > 0 && part.problem.received <= 1_000_000);
  assert.match(part.message, /connection ended after \d+ bytes/);
  const short = await refusal({ artefact: `${server.url}/short`, sha256: small.sha256, bytes: small.bytes });
  assert.deepEqual([short.code, short.problem.received, short.problem.expected], ["length", 1_000_000, small.bytes]);
  assert.equal((await refusal({ artefact: `${server.url}/short`, sha256: small.sha256 })).code, "digest");
  assert.equal((await refusal({ artefact: small.path, sha256: small.sha256, bytes: 1_000 })).code, "length");
});

test("one changed bit is a wrong digest", async () => {
  const content = readFileSync(small.path);
  content[content.length >> 1] ^= 1;
  const error = await refusal({ artefact: written(content), sha256: small.sha256 });
  assert.equal(error.code, "digest");
  assert.equal(error.problem.actual, sha256(content));
  assert.match(error.message, new RegExp(small.sha256));
  assert.equal((await refusal({ artefact: `${server.url}/page`, sha256: small.sha256 })).code, "digest");
});

test("files with the right digest that are no artefacts", async () => {
  const whole = readFileSync(small.path);
  const core = Buffer.concat([Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])]);
  const changed = Buffer.from(whole);
  changed.fill(0xff, 20, 60); // the beginning of the core module
  for (const content of [Buffer.alloc(0), Buffer.from("<!doctype html>"), core, whole.subarray(0, 1_000_000), whole.subarray(0, 8), changed]) {
    const error = await refusal({ artefact: written(content) });
    assert(["artefact", "contract"].includes(error.code), error.message);
  }
  assert.equal((await refusal({ artefact: written(whole.subarray(0, 1_000_000)) })).code, "artefact");
});

test("an artefact of another version of the contract", async () => {
  const text = readFileSync(small.path, "latin1").replaceAll("classifier@0.2.0", "classifier@0.3.0");
  const error = await refusal({ artefact: written(Buffer.from(text, "latin1")) });
  assert.deepEqual(error.problem, {
    code: "contract",
    expected: "palisade:moderation/classifier@0.2.0",
    found: ["palisade:moderation/classifier@0.3.0"],
  });
});

test("without SIMD nothing is fetched", { skip: process.arch !== "x64" && "only x64 can switch it off" }, () => {
  const script = `import { load } from "@palisade/moderation";
    load({ artefact: "http://127.0.0.1:9/a", sha256: "${small.sha256}" }).catch((error) => console.log(error.code));`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--no-enable-sse4-1", "--no-enable-ssse3", "--input-type=module", "-e", script], {
    cwd: new URL("..", import.meta.url),
    encoding: "utf8",
  });
  assert.equal(stdout, "simd\n", stderr);
});

test("too many texts, too many bytes, labels that are not there", async () => {
  const { textsMax, batchBytesMax } = classifier.description.limits;
  const refused = (texts, options) => classifier.classify(texts, options).then(() => assert.fail("accepted"), ({ problem }) => problem);
  assert.deepEqual(await refused(Array(textsMax + 1).fill("a")), { code: "too-many-texts", given: textsMax + 1, limit: textsMax });
  const large = "é".repeat(batchBytesMax / 2);
  assert.deepEqual(await refused([large, "a"]), { code: "batch-too-large", given: batchBytesMax + 1, limit: batchBytesMax });
  assert.deepEqual(await refused(["a"], { labels: ["KINDNESS"] }), { code: "unknown-label", label: "KINDNESS" });
  assert.deepEqual(await refused(["a"], { labels: ["INSULT", "INSULT"] }), { code: "duplicate-label", label: "INSULT" });
  assert.equal((await refused("a text")).code, "argument");
  assert.equal((await refused([1])).code, "argument");
  assert.deepEqual((await classifier.classify([])).results, []);
});

test("a text of a megabyte is cut, and says so", async () => {
  const { results } = await classifier.classify(["hello world ".repeat(90_000)]);
  assert.equal(results[0].truncated, true);
});

test("a cancelled call rejects with the signal's reason, and the next one is answered", async () => {
  // The regular release, which is at it for many seconds: to start another worker takes a fraction of one.
  const classifier = await load({ artefact: regular.path, sha256: regular.sha256 });
  const workers = counted();
  const stale = new AbortController();
  const slow = classifier.classify(Array(64).fill(LONG.repeat(3)), { words: true, signal: stale.signal });
  const other = classifier.classify(["hello"]);
  setTimeout(20).then(() => stale.abort(new Error("typed on")));
  await assert.rejects(slow, /typed on/);
  const { labels, results } = await other;
  assert.equal(results.length, 1);
  assert.deepEqual(workers.end(), { started: 1, scored: 1 }, "another worker answered, while the first was in the middle of what had been cancelled");
  const again = await classifier.classify(["hello"]);
  assert.deepEqual([again.labels, again.results[0].scores], [labels, results[0].scores]);
  await assert.rejects(classifier.classify(["a"], { signal: AbortSignal.abort(new Error("before")) }), /before/);
  classifier.close();
});

test("loading can be given up, and a closed classifier says so", async () => {
  const stop = new AbortController();
  const loading = load({ artefact: regular.path, sha256: regular.sha256, signal: stop.signal, onProgress: () => stop.abort(new Error("gone")) });
  await assert.rejects(loading, /gone/);
  const closed = await load({ artefact: small.path, sha256: small.sha256 });
  const pending = closed.classify(["a"]);
  closed.close();
  await assert.rejects(pending, { code: "closed" });
  await assert.rejects(closed.classify(["a"]), { code: "closed" });
});

test("a call that is cancelled while it waits disturbs nobody", async () => {
  const workers = counted();
  const bulk = classifier.classify(Array(8).fill(LONG), { words: true });
  let done = false;
  bulk.finally(() => (done = true));
  const until = performance.now() + 600_000;
  for (let typed = new AbortController(); !done && performance.now() < until; typed = new AbortController()) {
    classifier.classify(["hello"], { signal: typed.signal }).catch(() => {});
    await setTimeout(200);
    typed.abort();
  }
  assert(done, "the other call was not answered in ten minutes");
  assert.equal((await bulk).results.length, 8);
  assert.equal(workers.end().started, 0);
});

test("a call keeps what is scored of it when the worker is replaced", async () => {
  const texts = Array.from({ length: 64 }, (_, i) => `${LONG}${i}`);
  const undisturbed = await classifier.classify(texts);
  const workers = counted();
  const bulk = classifier.classify(texts);
  let done = false;
  bulk.finally(() => (done = true));
  const until = performance.now() + 600_000;
  for (let typed = new AbortController(); !done && performance.now() < until; typed = new AbortController()) {
    // Calls take turns: when the short one is answered, the long one is next, and the other has a part of its results.
    const short = classifier.classify(["hello"]);
    classifier.classify(Array(8).fill(LONG), { words: true, signal: typed.signal }).catch(() => {});
    await short;
    await setTimeout(100);
    typed.abort();
  }
  assert(done, "the other call was not answered in ten minutes");
  const { milliseconds, ...classified } = await bulk;
  assert.deepEqual({ ...classified, milliseconds: 0 }, { ...undisturbed, milliseconds: 0 });
  assert(milliseconds > 0);
  assert(workers.end().started > 0, "no worker was replaced");
});

test("a program ends though it did not close, and though it cancelled", () => {
  const script = `import { load } from "@palisade/moderation";
    const classifier = await load({ artefact: ${JSON.stringify(small.path)}, sha256: "${small.sha256}" });
    console.log((await classifier.classify(["hello"])).results.length);`;
  const cancelling = `
    const stale = new AbortController();
    const slow = classifier.classify(Array(8).fill(${JSON.stringify(LONG)}), { words: true, signal: stale.signal });
    await new Promise((resolve) => setTimeout(resolve, 100));
    stale.abort();
    console.log(await slow.catch((error) => error.name));`;
  const after = `
    console.log((await classifier.classify(["hello"])).results.length);
    await new Promise((resolve) => setTimeout(resolve, 500));`;
  assert.deepEqual(ran(script), ["1\n", 0]);
  assert.deepEqual(ran(script + cancelling), ["1\nAbortError\n", 0]);
  assert.deepEqual(ran(script + cancelling + after), ["1\nAbortError\n1\n", 0]);
});

test("offsets count as strings do, in all scripts", async () => {
  const text = "שלום! 👩‍👩‍👧 You idiot. naïve \ud800 half. עוד משפט אחד.";
  const { results } = await classifier.classify([text], { spans: true, words: true });
  const bytes = Buffer.from(text);
  for (const parts of [results[0].spans, results[0].words]) {
    assert(parts.length > 1);
    toUtf16(text, parts).forEach(({ start, end }, i) => {
      assert.equal(Buffer.from(text.slice(start, end)).toString(), bytes.subarray(parts[i].start, parts[i].end).toString());
    });
  }
});

test("a verdict is the strictest of the thresholds reached", () => {
  const thresholds = [{ label: "INSULT", review: 0.3, block: 0.7 }, { label: "SPAM", review: null, block: null }];
  const scores = Float32Array.of(0.7, 0.99, 1);
  assert.deepEqual(judge(["INSULT", "SPAM", "HATE"], scores, thresholds), {
    verdict: "block",
    fired: [{ label: "INSULT", score: 0.7, threshold: 0.7, verdict: "block" }],
  });
  assert.equal(judge(["INSULT"], [0.29], thresholds).verdict, "allow");
  assert.equal(judge(["INSULT"], [0.5], thresholds).verdict, "review");
});
