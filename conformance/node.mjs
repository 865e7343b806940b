// Scores texts with the component in Node.
//
//   node node.mjs ARTEFACT TEXTS COUNT FOLDER OUTPUT
//
// TEXTS has one JSON string a line; the first COUNT are scored. FOLDER takes the transpiled component, OUTPUT the scores.
import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { firstTexts, scores } from "./scores.mjs";
import { transpile } from "./transpile.mjs";

const [artefact, texts, count, folder, output] = process.argv.slice(2);
await transpile(artefact, folder);
const { classifier } = await import(pathToFileURL(resolve(folder, "classifier.js")));
await writeFile(output, scores(classifier, firstTexts(await readFile(texts, "utf8"), Number(count))));
