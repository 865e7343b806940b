// A component for V8, as jco transpiles it.
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { transpile as jco } from "@bytecodealliance/jco-transpile";

/** Writes `classifier.js` and what it reads into a folder. Throws where the component imports anything. */
export async function transpile(artefact, folder) {
  const { files, imports } = await jco(artefact, { name: "classifier", noTypescript: true, outDir: folder });
  if (imports.length > 0) {
    throw new Error(`the component imports ${imports.join(", ")}, and must import nothing`);
  }
  for (const [name, content] of Object.entries(files)) {
    const path = name.startsWith(folder) ? name : join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
  await writeFile(join(folder, "package.json"), '{"type":"module"}\n');
}

/** The same, and gives the instance's interface. */
export async function transpiled(artefact, folder) {
  await transpile(artefact, folder);
  const { classifier } = await import(pathToFileURL(resolve(folder, "classifier.js")));
  return classifier;
}
