// Runs the golden cases through the component in V8, as jco transpiles it, and wants the same bits as wasmtime gave.
//
//   node run.mjs ARTEFACT CASES FOLDER
//
// FOLDER takes the transpiled component. Prints one line; exit status 1 where a case differs.
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { pathToFileURL } from "node:url";
import { transpile } from "./transpile.mjs";

const [artefact, cases, folder] = process.argv.slice(2);
if (!folder) {
  console.error("usage: node run.mjs ARTEFACT CASES FOLDER");
  process.exit(2);
}

await transpile(artefact, folder);

const started = performance.now();
const { classifier } = await import(pathToFileURL(resolve(folder, "classifier.js")));
const release = classifier.describe().release;
const loaded = performance.now();

const lines = (await readFile(cases, "utf8")).split("\n").filter((line) => line !== "");
let differing = 0;
for (const line of lines) {
  const expected = JSON.parse(line);
  const { labels, results } = classifier.classify([expected.text], { spans: true, words: false });
  const [result] = results;
  const sameScores = (wanted, scores) =>
    labels.length === Object.keys(wanted).length &&
    labels.every((label, i) => Object.is(Math.fround(wanted[label]), scores[i]));
  const sameSpan = (wanted, span) =>
    wanted.start === span.start &&
    wanted.end === span.end &&
    wanted.truncated === span.truncated &&
    sameScores(wanted.scores, span.scores);
  const same =
    result.truncated === expected.truncated &&
    result.spansTruncated === expected.spans_truncated &&
    sameScores(expected.scores, result.scores) &&
    result.spans.length === expected.spans.length &&
    expected.spans.every((wanted, i) => sameSpan(wanted, result.spans[i]));
  if (!same) {
    differing += 1;
    console.error(`case ${expected.id} differs: ${JSON.stringify(result)} is not ${line}`);
  }
}
const milliseconds = performance.now() - loaded;
console.log(
  `${lines.length - differing} passed, ${differing} failed: ${release.name} ${release.version} in Node ${process.version}, ` +
    `loaded in ${(loaded - started).toFixed(0)} ms, ${(milliseconds / lines.length).toFixed(0)} ms a text`,
);
process.exit(differing > 0 || lines.length === 0 ? 1 : 0);
