// Every page at desktop and phone width, in light and dark: no serious fault of accessibility, nothing wider than the screen, and a picture
// in target/web/ for a person's eye.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { browse, enter, serveSite, SIZES, texts, visit } from "./parts.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = process.env.PALISADE_SCREENSHOTS ?? fileURLToPath(new URL("../../target/web", import.meta.url));
let server;
let browser;

before(async () => {
  mkdirSync(folder, { recursive: true });
  server = await serveSite();
  browser = await browse();
});
after(async () => {
  await browser?.close();
  await server.close();
});

/** Each way that a page can look, and how to get there. */
const LOOKS = {
  playground: async (page) => {
    await page.getByText("comes from").waitFor();
  },
  "playground-empty": async (page) => {
    await page.getByLabel("Your text").fill("");
    await page.getByText("Nothing to read yet").waitFor();
  },
  "playground-scripts": async (page) => {
    const text = "שלום לכולם! You are an idiot. مرحبا بالعالم 👩‍👩‍👧 naïve café.";
    await page.getByLabel("Your text").fill(text);
    await page.locator(".reading[data-words=true]", { hasText: text }).waitFor();
  },
  "chat-door": async (page) => page.getByLabel("Your name").fill("Ana"),
  "chat-nudge": async (page) => {
    await enter(page, "Ana");
    await send(page, "Hello everybody!");
    await page.getByLabel("Message", { exact: true }).fill("You are an idiot.");
    await page.getByRole("button", { name: "Send", exact: true }).click();
    await page.getByRole("alertdialog").waitFor();
  },
  "chat-moderator": async (page) => {
    await enter(page, "Bo", { moderator: true });
    await send(page, "Good morning, what a match yesterday!");
    await send(page, "You are an idiot.", true);
    await send(page, "Nobody likes you, you disgusting fucking idiot.", true);
    await send(page, "That referee was dumb.", true);
    await page.locator("[data-id]").first().getByRole("button", { name: "Approve" }).click();
    await page.getByText("feedback kept").waitFor();
  },
  "compare-empty": async () => {},
  compare: async (page) => {
    await page.getByLabel("Or paste texts").fill(texts(200).join("\n"));
    await page.getByRole("button", { name: "Score the lines" }).click();
    await page.getByText("200 texts in").waitFor();
  },
};

async function send(page, text, isNudged = false) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send", exact: true }).click();
  if (isNudged) await page.getByRole("button", { name: "Send anyway" }).click();
  await page.locator(".message[data-state]", { hasText: text }).waitFor();
}

for (const [look, arrive] of Object.entries(LOOKS)) {
  test(`${look} is accessible and fits`, async () => {
    const hash = look.startsWith("chat") ? "#/chat" : look.startsWith("compare") ? "#/compare" : "";
    for (const size of Object.keys(SIZES)) {
      const { page, context, complaints } = await visit(browser, server.url, { hash, size });
      await arrive(page);
      for (const scheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme: scheme });
        await page.evaluate(async () => void (await Promise.allSettled(document.getAnimations().map(({ finished }) => finished))));
        await page.screenshot({ path: join(folder, `${look}-${size}-${scheme}.png`), fullPage: true });
        assert.deepEqual(await faults(page), [], `${size} ${scheme}`);
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0, `${size}: the page is ${wide} pixels too wide`);
      assert.deepEqual(complaints, []);
      await context.close();
    }
  });
}

/** What axe-core finds that is serious or worse. */
async function faults(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 120)} ${any[0]?.message ?? ""}`).join(" | ")}`);
}
