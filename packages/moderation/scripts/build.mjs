// Compiles src/ into dist/, and puts the generated contract beside it.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
const { status } = spawnSync("npx", ["--no-install", "tsc", "--project", `${root}tsconfig.json`], { stdio: "inherit", cwd: root });
if (status !== 0) process.exit(status ?? 1);
mkdirSync(`${root}dist/contract`, { recursive: true });
for (const name of readdirSync(`${root}src/contract`)) copyFileSync(`${root}src/contract/${name}`, `${root}dist/contract/${name}`);
