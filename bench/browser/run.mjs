// The package in Chromium, against onnxruntime-web and transformers.js on the same model; see ../README.md.
//
//   node run.mjs [--rounds N] [--quantised FOLDER] [--json FILE]
//
// Each engine gets a browser of its own, fresh in each round: first score on a cold cache, scores by length, memory, bytes to load.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { artefacts } from "../../packages/moderation/scripts/artefacts.mjs";
import { browse, serve } from "../../packages/moderation/test/parts.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" }, quantised: { type: "string" }, json: { type: "string" } } });
const TOKENS = [16, 64, 128, 256];
const REPEATS = 15;
/** Longest wait for a page, on a machine that others use too. */
const TIME_MS_MAX = 180_000;
/** The same as in bench/compare.py: our engine reads activations in 7 bits, the int8 peers have one scale for a matrix. */
const DIFFERENCE_MAX = { float32: 0.05, int8: 0.1 };
const LIMITS = [12_000_000, 5_000_000];

const release = join(root, "models/english-toxicity");
const quantised = values.quantised ?? quantise();
const [regular, small] = artefacts();
const { vocab } = JSON.parse(readFileSync(join(release, "tokenizer.json"), "utf8")).model;
const vocabulary = { first: vocab["[CLS]"], word: vocab.people, last: vocab["[SEP]"] };
const model = { float32: join(release, "model.onnx"), int8: join(quantised, "QUInt8.onnx") };

/** What transformers.js wants to know of a model, beside its graph and its tokenizer. */
const labels = JSON.parse(readFileSync(join(release, "release.json"), "utf8")).labels.map(({ name }) => name);
const config = { model_type: "bert", architectures: ["BertForSequenceClassification"], problem_type: "multi_label_classification", num_labels: labels.length, id2label: { ...labels } };
const tokenizer = { tokenizer_class: "BertTokenizer", do_lower_case: true, model_max_length: 256 };

const CONTENDERS = [
  { name: "palisade", engine: "palisade", options: { artefact: "/regular.wasm", sha256: regular.sha256 } },
  { name: "onnxruntime-web int8", engine: "onnxruntime-web", kind: "int8", options: { model: "/models/release/onnx/model_quantized.onnx", vocabulary } },
  { name: "onnxruntime-web float32", engine: "onnxruntime-web", kind: "float32", options: { model: "/models/release/onnx/model.onnx", vocabulary } },
  { name: "transformers.js int8", engine: "transformers.js", kind: "int8", options: { dtype: "q8" } },
  { name: "transformers.js float32", engine: "transformers.js", kind: "float32", options: { dtype: "fp32" } },
  { name: "palisade small", engine: "palisade", kind: "other release", options: { artefact: "/small.wasm", sha256: small.sha256 }, tokensMax: 128 },
];

function quantise() {
  const script = "import sys; from pathlib import Path; sys.path.insert(0, 'bench'); from comparison.engines import Release, prepare, quantised; print(quantised(prepare(), Release.read(Path('models/english-toxicity'))))";
  const { status, stdout } = spawnSync("python3", ["-c", script], { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  if (status !== 0) throw new Error("the int8 peers' model was not made; see above");
  return stdout.trim().split("\n").at(-1);
}

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

/** Proportional memory of a browser's renderers, in bytes: pages that processes share count once. */
function memory(browserPid) {
  const parents = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const [, parent] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
      parents.set(pid, parent);
    } catch {
      // it has ended
    }
  }
  const below = (pid) => pid === String(browserPid) || (parents.has(pid) && parents.get(pid) !== "0" && below(parents.get(pid)));
  let bytes = 0;
  for (const pid of parents.keys()) {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("--type=renderer") || !below(pid)) continue;
      bytes += Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))[1]) * 1024;
    } catch {
      // it has ended
    }
  }
  return bytes;
}

/** The process that plays the browser, by the folder of its profile, which no other has. */
function pidOf(profile) {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).find((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      return line.includes(profile) && !line.includes("--type=");
    } catch {
      return false;
    }
  });
}

async function measure(server, { name, engine, options, tokensMax = 256 }) {
  const marker = `--palisade-bench=${process.pid}-${Math.random()}`;
  const browser = await browse(marker);
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(TIME_MS_MAX);
    await page.goto(`${server.url}/blank`);
    const before = memory(pidOf(marker));
    const asked = server.requests.length;
    await page.goto(server.url);
    const first = await page.evaluate(([engine, options]) => globalThis.bench.first(engine, options, 16), [engine, options]);
    const ms = {};
    for (const tokens of TOKENS.filter((tokens) => tokens <= tokensMax)) {
      await page.evaluate((tokens) => globalThis.bench.times(tokens, 5), tokens);
      ms[tokens] = median(await page.evaluate(([tokens, repeats]) => globalThis.bench.times(tokens, repeats), [tokens, REPEATS]));
    }
    const requests = [...new Set(server.requests.slice(asked))].filter((path) => path !== "/favicon.ico");
    return { name, first_ms: first.ms, scores: first.scores, ms, memory_bytes: memory(pidOf(marker)) - before, requests };
  } finally {
    await browser.close();
  }
}

/** What a server has under some paths; null where a page only asked whether there is something. */
async function contents(server, paths) {
  const found = new Map();
  for (const path of paths) {
    const response = await fetch(server.url + path);
    found.set(path, response.ok ? Buffer.from(await response.arrayBuffer()) : null);
  }
  return found;
}

/** Compressed sizes of a file, each by itself as a server sends it. */
function compressed(content) {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
  return { plain: content.length, gzip: gzipSync(content, { level: 9 }).length, brotli: brotliCompressSync(content, { params }).length };
}

const isolated = (content, type = "application/json") => (_, response) => response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(content);
const modules = fileURLToPath(new URL("node_modules/", import.meta.url));
if (!existsSync(modules)) throw new Error("the peers are not installed: run `npm ci` in bench/browser");
const server = await serve([
  ["/regular.wasm", regular.path],
  ["/small.wasm", small.path],
  ["/moderation/", join(root, "packages/moderation/dist/")],
  ["/modules/", modules],
  ["/models/release/onnx/model_quantized.onnx", model.int8],
  ["/models/release/onnx/model.onnx", model.float32],
  ["/models/release/config.json", isolated(JSON.stringify(config))],
  ["/models/release/tokenizer_config.json", isolated(JSON.stringify(tokenizer))],
  ["/models/release/tokenizer.json", join(release, "tokenizer.json")],
  ["/page.mjs", fileURLToPath(new URL("page.mjs", import.meta.url))],
  ["/blank", isolated("<!doctype html><title>blank</title>", "text/html")],
  ["/", (request, response) => (request.url === "/" ? isolated('<!doctype html><title>bench</title><link rel="icon" href="data:," /><script type="module" src="/page.mjs"></script>', "text/html")(request, response) : response.writeHead(404).end())],
]);

const rounds = [];
for (let round = 0; round < Number(values.rounds); round += 1) {
  const order = round % 2 === 0 ? CONTENDERS : [...CONTENDERS].reverse();
  const measured = [];
  for (const contender of order) {
    process.stderr.write(`round ${round + 1}: ${contender.name}\n`);
    measured.push(await measure(server, contender));
  }
  rounds.push(measured);
}

const files = await contents(server, new Set(rounds[0].flatMap(({ requests }) => requests)));
await server.close();
const size = new Map([...files].map(([path, content]) => [path, content ? compressed(content) : { plain: 0, gzip: 0, brotli: 0 }]));
const sum = (paths, way) => paths.reduce((total, path) => total + size.get(path)[way], 0);

let isWrong = false;
const results = [];
for (const { name, kind } of CONTENDERS) {
  const own = rounds.map((round) => round.find((measured) => measured.name === name));
  const ours = rounds[0].find((measured) => measured.name === "palisade").scores;
  const difference = kind in DIFFERENCE_MAX ? Math.max(...own[0].scores.map((score, i) => Math.abs(score - ours[i]))) : 0;
  if (!(difference <= (DIFFERENCE_MAX[kind] ?? 0))) {
    isWrong = true;
    console.error(`${name} differs by ${difference} from palisade's scores`);
  }
  const ms = Object.fromEntries(Object.keys(own[0].ms).map((tokens) => [tokens, median(own.map((round) => round.ms[tokens]))]));
  const { requests } = own[0];
  const bytes = Object.fromEntries(["plain", "gzip", "brotli"].map((way) => [way, sum(requests, way)]));
  results.push({ name, first_ms: median(own.map(({ first_ms }) => first_ms)), ms, memory_bytes: median(own.map(({ memory_bytes }) => memory_bytes)), bytes, requests, difference });
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(2);
console.log(`Chromium, one thread, medians of ${rounds.length} rounds of ${REPEATS}, ${cpus()[0]?.model}\n`);
console.log("| engine | first score, cold, ms | 16 tokens, ms | 64 | 128 | 256 | memory, MB | to load, MB | gzip | brotli |");
console.log("|---|---|---|---|---|---|---|---|---|---|");
for (const { name, first_ms, ms, memory_bytes, bytes } of results) {
  const times = TOKENS.map((tokens) => (ms[tokens] === undefined ? "–" : ms[tokens].toFixed(1)));
  console.log(`| ${[name, first_ms.toFixed(0), ...times, megabytes(memory_bytes), megabytes(bytes.plain), megabytes(bytes.gzip), megabytes(bytes.brotli)].join(" | ")} |`);
}
[results[0], results.at(-1)].forEach(({ name, bytes }, i) => {
  if (bytes.brotli < LIMITS[i]) return;
  isWrong = true;
  console.error(`${name} takes ${bytes.brotli} bytes to load, and may take ${LIMITS[i]}`);
});
if (values.json) writeFileSync(values.json, `${JSON.stringify({ rounds, results }, null, 2)}\n`);
process.exit(isWrong ? 1 : 0);
