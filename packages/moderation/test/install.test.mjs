// The tarball of `npm pack`, installed into fresh projects: Vite, webpack, plain modules and Node. Each scores a text with the same result.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { artefacts } from "../scripts/artefacts.mjs";
import { browse, serve } from "./parts.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const [, small] = artefacts();
const folder = mkdtempSync(join(tmpdir(), "palisade-install-"));
let tarball;
let browser;
let expected;

const npm = (cwd, ...words) => execFileSync("npm", [...words, "--no-audit", "--no-fund", "--loglevel=error"], { cwd, encoding: "utf8" });

/** A fresh copy of a project with the package installed, as its user would have it. */
function installed(name) {
  const project = join(folder, name);
  cpSync(join(root, "test/projects", name), project, { recursive: true, filter: (path) => !/node_modules|\/dist$/.test(path) });
  npm(project, "install", "--save", tarball);
  const index = join(project, "index.html");
  if (name !== "node") writeFileSync(index, readFileSync(index, "utf8").replace("SHA256", small.sha256));
  return project;
}

/** The page's title once it has a result. Fails with what the page complained of. */
async function titled(url) {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("response", (response) => response.status() >= 400 && !response.url().endsWith("favicon.ico") && complaints.push(`${response.status()} ${response.url()}`));
  await page.goto(url);
  await page.waitForFunction("document.title !== 'loading'").catch(() => {});
  const title = await page.title();
  await page.close();
  return [title, complaints];
}

before(async () => {
  const [packed] = JSON.parse(npm(root, "pack", "--json", "--ignore-scripts", "--pack-destination", folder));
  tarball = join(folder, packed.filename);
  const { load } = await import("@palisade/moderation");
  const classifier = await load({ artefact: small.path, sha256: small.sha256 });
  const { release, labels, results } = await classifier.classify(["You are an idiot."]);
  classifier.close();
  expected = `${release.name} ${labels[2]} ${results[0].scores[2].toFixed(6)}`;
  browser = await browse();
});

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, maxRetries: 10, retryDelay: 100 });
});

async function served(project, site, then) {
  const server = await serve([
    [`/${small.sha256}.wasm`, small.path],
    ["/", site],
  ]);
  try {
    assert.deepEqual(await titled(server.url), [expected, []], project);
    await then?.(server);
  } finally {
    await server.close();
  }
}

test("a Vite project builds and runs", async () => {
  const project = installed("vite");
  npm(project, "run", "build");
  await served(project, join(project, "dist"));
});

test("a Vite project runs in development", async () => {
  const project = join(folder, "vite");
  cpSync(small.path, join(project, "public", `${small.sha256}.wasm`));
  const vite = spawn(process.execPath, ["node_modules/vite/bin/vite.js", "--port", "0", "--host", "127.0.0.1"], { cwd: project });
  const ended = once(vite, "exit");
  try {
    const url = await new Promise((resolve, reject) => {
      let said = "";
      vite.stdout.on("data", (data) => {
        said += String(data).replace(/\x1b\[[0-9;]*m/g, "");
        const [address] = /http:\/\/127\.0\.0\.1:\d+/.exec(said) ?? [];
        if (address) resolve(address);
      });
      vite.on("exit", () => reject(new Error(`vite ended: ${said}`)));
    });
    assert.deepEqual(await titled(url), [expected, []]);
  } finally {
    vite.kill("SIGKILL");
    await ended; // it may still write into the project
  }
});

test("a webpack project builds and runs", async () => {
  const project = installed("webpack");
  npm(project, "run", "build");
  await served(project, project);
});

test("plain modules run without a build", async () => {
  const project = installed("modules");
  await served(project, project);
});

test("a Node project's tests run", () => {
  const project = installed("node");
  const output = execFileSync(process.execPath, ["--test", "--test-reporter=tap", "main.test.mjs"], {
    cwd: project,
    encoding: "utf8",
    env: { ...process.env, ARTEFACT: small.path, SHA256: small.sha256, NODE_TEST_CONTEXT: undefined },
  });
  assert(output.includes(expected), output);
});

test("the tarball has what runs, and nothing else", () => {
  const names = execFileSync("tar", ["-tzf", tarball], { encoding: "utf8" }).trim().split("\n").sort();
  for (const name of ["README.md", "LICENSE", "NOTICE", "dist/worker.js", "dist/contract/classifier.js"]) assert(names.includes(`package/${name}`), name);
  assert.deepEqual(names.filter((name) => !/^package\/(dist\/.*\.(js|d\.ts)|package\.json|README\.md|LICENSE|NOTICE)$/.test(name)), []);
});
