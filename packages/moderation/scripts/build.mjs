// Compiles src/ into dist/, and puts the generated contract beside it.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
const { status } = spawnSync("npx", ["--no-install", "tsc", "--project", `${root}tsconfig.json`], { stdio: "inherit", cwd: root });
if (status !== 0) process.exit(status ?? 1);
mkdirSync(`${root}dist/contract`, { recursive: true });
// npm packs a licence that lies beside package.json.
for (const name of ["LICENSE", "NOTICE"]) copyFileSync(`${root}../../${name}`, `${root}${name}`);
for (const name of readdirSync(`${root}src/contract`)) {
  // jco's directive for its own tools, which bundlers warn of.
  const source = readFileSync(`${root}src/contract/${name}`, "utf8").replace('"use components";\n', "");
  writeFileSync(`${root}dist/contract/${name}`, source);
}
