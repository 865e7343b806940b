// What the tests of the site share.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { browse, serve } from "../../packages/moderation/test/parts.mjs";

export { browse };

const site = fileURLToPath(new URL("../dist/", import.meta.url));
/** Longest wait for anything, on a machine that others use too. */
export const TIME_MS_MAX = 90_000;
export const SIZES = { desktop: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };

/** The Content-Security-Policy that the README gives to servers. */
function policy() {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const found = /^content-security-policy: (.*)$/m.exec(readme);
  if (!found) throw new Error("demo/README.md gives no content-security-policy");
  return found[1];
}

/** The built site on this machine, under the policy that its README gives to servers. `over` has mounts that come before its files. */
export function serveSite(over = []) {
  if (!existsSync(site)) throw new Error("there is no demo/dist: run `npm run build` in demo/ first");
  return serve([...over, ["/", site]], { "content-security-policy": policy() });
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
  if (place === "server") await page.getByLabel("On a server").check();
  await page.getByRole("button", { name: "Enter the room" }).click();
  await page.getByLabel("Message", { exact: true }).waitFor();
}

export const texts = (count) =>
  Array.from({ length: count }, (_, i) => {
    const said = ["Thank you, that was kind", "You are an idiot", "Is the ferry on time", "I will break your legs", "Nobody likes you, get lost"];
    return `${said[i % said.length]}, number ${i}`;
  });
