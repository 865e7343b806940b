// The component as jco transpiles it for V8.
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { transpile } from "@bytecodealliance/jco-transpile";

/** Transpiles an artefact into `folder`, and gives the instance's interface. Fails where the component imports anything. */
export async function transpiled(artefact, folder) {
  const { files, imports } = await transpile(artefact, { name: "classifier", noTypescript: true, outDir: folder });
  if (imports.length > 0) throw new Error(`the component imports ${imports.join(", ")}, and must import nothing`);
  for (const [name, content] of Object.entries(files)) {
    const path = name.startsWith(folder) ? name : join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
  await writeFile(join(folder, "package.json"), '{"type":"module"}\n');
  const { classifier } = await import(pathToFileURL(resolve(folder, "classifier.js")));
  return classifier;
}
