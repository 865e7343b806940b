// The artefacts for browsers, as `cargo xtask component` bakes them.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const NAMES = ["palisade-default-strict.wasm", "palisade-small-strict.wasm"];

/** Both, the default release first: path, digest and size. PALISADE_ARTEFACTS names another folder than cargo's. */
export function artefacts() {
  const folder = resolve(process.env.PALISADE_ARTEFACTS ?? fileURLToPath(new URL("../../../target/release", import.meta.url)));
  return NAMES.map((name) => {
    const path = join(folder, name);
    if (!existsSync(path)) {
      throw new Error(`there is no ${path}\n  hint: run \`cargo xtask component\`, or name the folder in PALISADE_ARTEFACTS`);
    }
    const content = readFileSync(path);
    return { name, path, sha256: createHash("sha256").update(content).digest("hex"), bytes: content.length };
  });
}
