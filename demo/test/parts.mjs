// What the tests of the site share.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { browse, serve } from "../../packages/moderation/test/parts.mjs";

export { browse };

const site = fileURLToPath(new URL("../dist/", import.meta.url));
/** Longest wait for anything, on a machine that others use too. */
export const TIME_MS_MAX = 300_000;
export const SIZES = { desktop: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };

/** The Content-Security-Policy that the README gives to servers. */
export function recommended() {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const found = /^content-security-policy: (.*)$/m.exec(readme);
  if (!found) throw new Error("demo/README.md gives no content-security-policy");
  return found[1];
}

/** The built site on this machine, under the policy that its README gives to servers. `over` has mounts that come before its files. */
export async function serveSite(over = [], { below = "/", policy = recommended() } = {}) {
  if (!existsSync(site)) throw new Error("there is no demo/dist: run `npm run build` in demo/ first");
  const headers = {};
  const server = await serve([...over, [below, site]], headers);
  headers["content-security-policy"] = policy.replaceAll("HOST", new URL(server.url).host);
  return server;
}

/**
 * A server on which the site can be replaced by a next version: the same, with other names for its files. `replace` does it; `names` has
 * what the first version's assets are called, and their names in the next.
 */
export async function serveVersions() {
  const names = new Map(readdirSync(join(site, "assets")).filter((name) => !name.endsWith(".br")).map((name) => [name, name.replace(/-[\w-]{8}\./, "-next.")]));
  let isNext = false;
  const next = (file, content) => {
    const text = [...names].reduce((text, [first, then]) => text.replaceAll(first, then), content.toString());
    return file === "service-worker.js" ? text.replace(/(["'`])[0-9a-f]{16}\1/, '"next"') : text;
  };
  const answer = (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    const [, folder, wanted] = /^\/(assets\/)?(.*)$/.exec(path);
    const name = isNext && folder ? [...names].find(([, then]) => then === wanted)?.[0] : wanted || "index.html";
    const file = join(site, folder ?? "", name ?? "none");
    if (!existsSync(file)) return void response.writeHead(404).end();
    const types = { ".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml", ".wasm": "application/wasm" };
    response.writeHead(200, { "content-type": types[extname(file)], "cache-control": "no-store" });
    const content = readFileSync(file);
    response.end(isNext && !file.endsWith(".wasm") ? next(wanted || "index.html", content) : content);
  };
  const server = await serve([["/", answer]]);
  return { ...server, names, replace: () => void (isNext = true) };
}

/** A browser in whose settings no site may keep anything: its profile is its one context. Gone after the test. */
export async function browseWithoutStorage(test) {
  const profile = mkdtempSync(join(tmpdir(), "palisade-profile-"));
  mkdirSync(join(profile, "Default"));
  writeFileSync(join(profile, "Default", "Preferences"), JSON.stringify({ profile: { default_content_setting_values: { cookies: 2 } } }));
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
  const context = await chromium.launchPersistentContext(profile, { executablePath, args, timeout: TIME_MS_MAX });
  test.after(async () => {
    await context.close();
    // Its last processes may write there a moment longer than the first one lives.
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }).catch(() => {});
  });
  return context;
}

/** A page of the site in a profile of its own, with what the browser complained of. */
export async function visit(browser, url, { hash = "", size = "desktop", scheme = "light", ready = true, release = "small" } = {}) {
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: scheme, hasTouch: size === "phone", acceptDownloads: true });
  // The small release, unless a test is about the other: the tests share two cores.
  await context.addInitScript((release) => localStorage.setItem("palisade-release", localStorage.getItem("palisade-release") ?? release), release);
  context.setDefaultTimeout(TIME_MS_MAX);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(`${url}/${hash}`);
  if (ready) await loaded(page);
  return { page, context, complaints };
}

/** Waits for the model. */
export const loaded = (page) => page.waitForFunction(() => document.querySelector("h1") && !document.querySelector("[role=progressbar]"), null, { timeout: TIME_MS_MAX });

/** Joins a room, local or of the server that the page came from. */
export async function enter(page, name, { moderator = false, room = "lounge", place = "local" } = {}) {
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Room", { exact: true }).fill(room);
  if (moderator) await page.getByLabel("A moderator").check();
  if (place === "server") await page.getByLabel("This server").check();
  await page.getByRole("button", { name: "Enter the room" }).click();
  await page.getByLabel("Message", { exact: true }).waitFor();
}

/**
 * The other end of ROOM.md, in as far as a test needs one that does as it is told: it lets in and shows everything. What it hears goes to
 * `over` first, which answers otherwise with `tell` and `socket`, and then gives true, at once or later. "The same over palisade serve" has
 * the real one.
 */
export async function answerRoom(page, over = () => false) {
  const heard = [];
  let connections = 0;
  let messages = 0;
  const release = { name: "english-toxicity", version: "0.0.0", digest: "0".repeat(64) };
  await page.routeWebSocket(/\/v1\/rooms\/lounge$/, (socket) => {
    connections += 1;
    let you;
    const tell = (event) => socket.send(JSON.stringify(event));
    socket.onMessage(async (data) => {
      const said = JSON.parse(data);
      heard.push(said);
      if (await over(said, tell, socket)) return;
      if (said.type === "join") {
        you = { client: "public-1", name: said.name, role: said.role };
        tell({ type: "joined", room: "lounge", you, people: [you], history: [], release, policy: [{ label: "INSULT", review: 0.3, block: null }], later: true });
      } else if (said.type === "message") {
        messages += 1;
        const server = { verdict: "allow", fired: [], scores: {}, release };
        tell({ type: "message", message: { ...said, sequence: messages, at: new Date().toISOString(), author: you, state: "shown", browser: null, server, moderation: null } });
      }
    });
  });
  return { heard, count: () => connections };
}

export const texts = (count) =>
  Array.from({ length: count }, (_, i) => {
    const said = ["Thank you, that was kind", "You are an idiot", "Is the ferry on time", "I will break your legs", "Nobody likes you, get lost"];
    return `${said[i % said.length]}, number ${i}`;
  });
