// The three pages, driven as a person would.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { after, before, test } from "node:test";
import { load } from "@palisade/moderation";
import { artefacts } from "../../packages/moderation/scripts/artefacts.mjs";
import { browse, enter, loaded, serveSite, texts, TIME_MS_MAX, visit } from "./parts.mjs";

const [regular, small] = artefacts();
let server;
let browser;

before(async () => {
  server = await serveSite();
  browser = await browse();
});
after(async () => {
  await browser?.close();
  await server.close();
});

const row = (page, name) => page.locator(".score-row", { has: page.locator(".score-name", { hasText: new RegExp(`^${name}$`) }) });
const message = (page) => page.getByLabel("Message", { exact: true });
const send = async (page, text) => {
  await message(page).fill(text);
  await page.getByRole("button", { name: "Send", exact: true }).click();
};

test("what is typed is scored as everywhere, whatever was typed before it", async () => {
  const { page, context, complaints } = await visit(browser, server.url);
  const field = page.getByLabel("Your text");
  await field.fill("");
  await field.pressSequentially("You are a kind and helpful person, thank you. But your brother is an idiot.", { delay: 5 });
  await page.getByText("comes from").waitFor();
  const shown = await page.locator(".score").allInnerTexts();
  const classifier = await load({ artefact: small.path, sha256: small.sha256 });
  const { labels, results } = await classifier.classify([await field.inputValue()]);
  classifier.close();
  const wanted = Array.from(results[0].scores, (score) => (score > 0 && score < 0.005 ? "<0.01" : score.toFixed(2)));
  assert.equal(shown.length, labels.length);
  assert.deepEqual(shown.map((text) => text.split(",")[0].trim()), wanted);
  assert.equal(await page.locator(".sentence").count(), 2);
  await page.locator("mark", { hasText: "idiot" }).waitFor();
  assert.deepEqual(complaints, []);
  await context.close();
});

test("sliding a threshold changes the verdict, by keyboard too", async () => {
  const { page, context } = await visit(browser, server.url);
  await page.getByLabel("Your text").fill("That was a rather dumb idea.");
  await page.locator(".verdict-head .chip").waitFor();
  await page.getByText("comes from").waitFor();
  const verdict = () => page.locator(".verdict-head .chip").innerText();
  for (const [slider, to] of [["review at", "1"], ["block at", "1"]]) {
    const sliders = page.getByRole("slider", { name: new RegExp(slider) });
    for (let i = 0; i < (await sliders.count()); i += 1) await sliders.nth(i).fill(to);
  }
  assert.equal((await verdict()).trim(), "Allow");
  const toxicity = page.getByRole("slider", { name: "Toxicity: review at", exact: true });
  await toxicity.focus();
  await page.keyboard.press("Home");
  assert.equal((await verdict()).trim(), "Review");
  assert.equal(await toxicity.getAttribute("aria-valuetext"), "0.00");
  await page.getByRole("slider", { name: "Toxicity: block at", exact: true }).fill("0.005");
  assert.equal((await verdict()).trim(), "Block");
  await page.getByRole("button", { name: "Reset thresholds" }).click();
  assert.notEqual(await toxicity.inputValue(), "0");
  await context.close();
});

test("nothing leaves the page, and it works without a network", async () => {
  const { page, context } = await visit(browser, server.url, { release: "default" });
  await page.getByText("Try it: switch off your network").waitFor();
  assert.match(await page.locator(".facts").innerText(), /english-toxicity 0\.\d/);
  const before = server.requests.length;
  await page.getByLabel("Your text").fill("You are an idiot, and this is not for you to keep.");
  await page.getByText("comes from").waitFor();
  assert.deepEqual(server.requests.slice(before), []);
  assert.equal(await page.locator("[data-requests]").getAttribute("data-requests"), "0");

  await context.setOffline(true);
  await page.reload();
  await loaded(page);
  await page.getByLabel("Your text").fill("Still here, you idiot.");
  await page.getByText("comes from").waitFor();
  const facts = await page.locator(".facts").innerText();
  assert.match(facts, /from this browser's copy, verified/);
  assert.match(facts, /You are offline, and it works/);
  assert.match(facts, new RegExp(`sha256 ${regular.sha256.slice(0, 12)}`));
  await context.close();
});

test("a megabyte that is pasted is read from its beginning, and the page answers", async () => {
  const { page, context } = await visit(browser, server.url);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const field = page.getByLabel("Your text");
  await field.fill("");
  await page.evaluate(() => navigator.clipboard.writeText("All of this is one long text of the same words. ".repeat(22_000)));
  await field.focus();
  const began = Date.now();
  await page.keyboard.press("Control+V");
  await page.getByText("Only the beginning was read").waitFor();
  assert.match(await page.locator(".notice.warning").innerText(), /1,056,000 characters; the first 100,000 are here/);
  assert(Date.now() - began < 10_000);
  await field.fill("Thank you.");
  await page.locator(".chip", { hasText: "Allow" }).waitFor();
  await page.locator(".notice").first().waitFor({ state: "detached" });
  await context.close();
});

test("scripts from right to left keep their parts apart", async () => {
  const { page, context } = await visit(browser, server.url);
  const text = "שלום לכולם! You are an idiot. مرحبا بالعالم 👩‍👩‍👧.";
  await page.getByLabel("Your text").fill(text);
  await page.getByText("comes from").waitFor();
  assert.equal((await page.locator(".reading").textContent()).trim(), text);
  assert.deepEqual(await page.locator(".sentence").allTextContents().then((parts) => parts.map((part) => part.trim())), ["שלום לכולם!", "You are an idiot.", "مرحبا بالعالم 👩‍👩‍👧."]);
  assert.equal(await page.locator("textarea").evaluate((field) => getComputedStyle(field).direction), "rtl");
  await context.close();
});

/** A conversation of three tabs, of which one moderates, on a site, in a local room or one of the site's server. */
async function converse(url, place) {
  const room = `test-${Date.now()}`;
  const { page: ana, context } = await visit(browser, url, { hash: "#/chat", release: place === "server" ? "default" : "small" });
  const tab = async (name, options) => {
    const page = await context.newPage();
    await page.goto(`${url}/#/chat`);
    await loaded(page);
    await enter(page, name, { room, place, ...options });
    return page;
  };
  await enter(ana, "Ana", { room, place });
  const bo = await tab("Bo", { moderator: true });
  const cy = await tab("Cy");
  await ana.getByText("3 people").waitFor();

  await send(ana, "Hello from the first tab");
  await cy.locator(".bubble", { hasText: "Hello from the first tab" }).waitFor();
  assert.match(await cy.locator(".message").first().innerText(), /Ana/);

  await send(ana, "You are an idiot.");
  const nudge = ana.getByRole("alertdialog");
  await nudge.waitFor();
  assert.match(await nudge.innerText(), /may read as an insult/);
  await ana.keyboard.press("Escape");
  assert.equal(await message(ana).inputValue(), "You are an idiot.");
  assert.equal(await bo.locator("[data-id]").count(), 0, "nothing was sent");

  await ana.getByRole("button", { name: "Send", exact: true }).click();
  await ana.getByRole("button", { name: "Send anyway" }).click();
  await ana.getByText("only you and moderators see it").waitFor();
  const waiting = bo.locator("[data-id]");
  await waiting.waitFor();
  assert.match(await waiting.innerText(), /sent after the nudge/);
  assert.match(await waiting.innerText(), /Insult\s+0\.\d\d/);
  assert.match(await waiting.innerText(), /The same scores, to the bit/);
  assert.equal(await cy.locator(".bubble", { hasText: "You are an idiot." }).count(), 0);

  await waiting.getByRole("button", { name: "Approve" }).click();
  await bo.getByText("feedback kept").waitFor();
  await cy.locator(".bubble", { hasText: "You are an idiot." }).waitFor();
  await ana.getByText("approved by a moderator").waitFor();

  const spoken = bo.locator(".message", { hasText: "Hello from the first tab" });
  await spoken.hover();
  await spoken.getByRole("button", { name: "Remove" }).click();
  await cy.getByText("This message was removed.").waitFor();
  assert.equal(await cy.locator(".bubble", { hasText: "Hello from the first tab" }).count(), 0);
  const late = await tab("Dee");
  await late.locator(".bubble", { hasText: "You are an idiot." }).waitFor();
  assert.equal(await late.locator(".bubble", { hasText: "Hello from the first tab" }).count(), 0);
  return { bo, context };
}

test("two tabs talk; a rude message waits for a moderator, whose word is kept once", async () => {
  const { bo, context } = await converse(server.url, "local");
  const kept = await bo.evaluate(() => JSON.parse(localStorage.getItem("palisade-feedback")));
  assert.deepEqual(kept.map(({ text, scores }) => [text, scores[0].score]), [["You are an idiot.", 0], ["Hello from the first tab", 1]]);

  const [download] = await Promise.all([bo.waitForEvent("download"), bo.getByRole("button", { name: /Download feedback \(2/ }).click()]);
  const lines = readFileSync(await download.path(), "utf8").trim().split("\n");
  assert.equal(lines.length, 2);
  await context.close();
});

test("the same over palisade serve", { skip: !process.env.PALISADE_SERVER && "PALISADE_SERVER names no server that has this site and its rooms" }, async () => {
  const { context } = await converse(process.env.PALISADE_SERVER, "server");
  await context.close();
});

test("a message that is too long does not leave", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
  await enter(page, "Ana");
  await message(page).fill("é".repeat(2_001));
  await page.getByText("This message has 4,002 bytes").waitFor();
  assert(await page.getByRole("button", { name: "Send", exact: true }).isDisabled());
  await context.close();
});

test("over a WebSocket: a lost connection is made again, and the same message has the same id", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
  const heard = [];
  let connections = 0;
  const release = { name: "english-toxicity", version: "0.0.0", digest: "0".repeat(64) };
  // The protocol's other end, as ROOM.md has it, in as far as this test needs it: a connection that breaks at will. "The same over palisade serve" has the real one.
  await page.routeWebSocket(/\/v1\/rooms\/lounge$/, (socket) => {
    connections += 1;
    const number = connections;
    socket.onMessage((data) => {
      const said = JSON.parse(data);
      heard.push(said);
      if (said.type === "join") {
        const you = { client: said.client, name: said.name, role: said.role };
        socket.send(JSON.stringify({ type: "joined", room: "lounge", you, people: [you], history: [], release, policy: [{ label: "INSULT", review: 0.3, block: null }], later: true }));
      } else if (said.type === "message" && number === 1) socket.close({ code: 1011 });
      else if (said.type === "message" && said.text === "too many") socket.send(JSON.stringify({ type: "error", code: "too-fast", detail: "try again in 3 s", id: said.id }));
      else if (said.type === "message") {
        const server = { verdict: "allow", fired: [], scores: {}, release };
        const author = { client: heard[0].client, name: heard[0].name };
        socket.send(JSON.stringify({ type: "message", message: { id: said.id, sequence: 1, at: new Date().toISOString(), author, text: said.text, state: "shown", nudged: false, browser: said.browser, server, moderation: null } }));
      }
    });
  });
  await page.getByLabel("On a server").check();
  await enter(page, "Ana");
  await send(page, "Is anybody there?");
  await page.getByText("sending…").waitFor();
  await page.locator(".message[data-state=shown]").waitFor();
  assert.equal(connections, 2);
  const sent = heard.filter(({ type }) => type === "message");
  assert.equal(sent.length, 2);
  assert.deepEqual(sent[0], sent[1]);
  assert.equal(sent[0].browser.verdict, "allow");
  assert.deepEqual(Object.keys(heard[0]).sort(), ["client", "key", "name", "role", "type"]);
  await send(page, "too many");
  await page.getByText("try again in 3 s").waitFor();
  await context.close();
});

test("a server without rooms is named", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
  await page.getByLabel("Your name").fill("Ana");
  await page.getByLabel("On a server").check();
  await page.getByRole("button", { name: "Enter the room" }).click();
  await page.getByRole("alert").getByText("has no rooms, or cannot be reached").waitFor();
  await page.getByRole("button", { name: "Back" }).click();
  await page.getByLabel("Your name").waitFor();
  await context.close();
});

/** Drops a file on the page, as a hand does. */
async function drop(page, name, content) {
  const transfer = await page.evaluateHandle(
    ([name, content]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([content], name, { type: "text/csv" }));
      return transfer;
    },
    [name, content],
  );
  await page.locator(".drop").dispatchEvent("drop", { dataTransfer: transfer });
}

const quoted = (text) => `"${text.replaceAll('"', '""')}"`;

test("a CSV of 5,000 lines is scored, sorted, filtered and exported, and the page stays awake", async () => {
  const { page, context, complaints } = await visit(browser, server.url, { hash: "#/compare" });
  const lines = texts(5_000);
  const csv = ["id,comment,stars", ...lines.map((text, i) => `${i},${quoted(text)},${i % 5}`)].join("\r\n");
  await page.evaluate(() => {
    let last = performance.now();
    globalThis.longest = 0;
    const look = (now) => {
      globalThis.longest = Math.max(globalThis.longest, now - last);
      last = now;
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  await drop(page, "comments.csv", csv);
  await page.getByText("of 5,000 texts").first().waitFor();
  await page.getByRole("button", { name: /^Insult/ }).first().waitFor();
  await page.getByText("5,000 texts in").waitFor();
  const longest = await page.evaluate(() => globalThis.longest);
  assert(longest < 1_000, `the page slept for ${longest} ms`);
  assert.equal(await page.getByLabel("Text is in").inputValue(), "1");
  assert((await page.locator("tbody tr").count()) < 60, "only rows in sight exist");

  await page.getByRole("columnheader", { name: "Insult" }).getByRole("button").click();
  assert.equal(await page.getByRole("columnheader", { name: "Insult" }).getAttribute("aria-sort"), "descending");
  assert.match(await page.locator("tbody tr:not(.space)").first().innerText(), /idiot/);
  await page.locator(".table-box").evaluate((box) => box.scrollTo(0, box.scrollHeight));
  await page.locator('tr[aria-rowindex="5001"]').waitFor();

  await page.getByPlaceholder("words").fill("number 1234");
  await page.getByText("1 of 5,000 texts").waitFor();
  await page.getByPlaceholder("words").fill("");
  await page.getByRole("combobox", { name: "Verdict" }).selectOption("block");
  await page.getByText("of 5,000 texts").first().waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export CSV" }).click()]);
  const saved = readFileSync(await download.path(), "utf8").split("\r\n");
  assert.match(saved[0], /^id,comment,stars,verdict,TOXICITY,.*,release,release_digest$/);
  assert(saved.length > 500);
  assert(saved.slice(1).every((line) => line.includes(",block,")));

  const classifier = await load({ artefact: small.path, sha256: small.sha256 });
  const { results } = await classifier.classify([lines[Number(saved[1].split(",")[0])]]);
  classifier.close();
  assert.equal(Math.fround(saved[1].split(",").at(-12)).toPrecision(5), results[0].scores[0].toPrecision(5));
  assert.deepEqual(complaints, []);
  await context.close();
});

test("10,000 lines with broken quotes are told, and read again without quotes", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/compare" });
  const lines = texts(10_000).map((text, i) => (i % 40 === 7 ? `${i},"${text}` : i % 40 === 9 ? `${i},"${text}" and more` : `${i},${quoted(text)}`));
  await drop(page, "broken.csv", ["id,comment", ...lines].join("\n"));
  const notice = page.locator(".notice.warning");
  await notice.waitFor();
  assert.match(await notice.innerText(), /[\d,]+ of [\d,]+ rows? looks? broken|[\d,]+ rows of [\d,]+ look broken/);
  assert.match(await notice.innerText(), /The first: row \d+/);
  await notice.getByText(/Show the first/).click();
  assert((await notice.locator("li").count()) > 5);
  await page.getByRole("button", { name: "Read again without quotes" }).click();
  await page.getByText(/of (9|10),\d{3} texts/).first().waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText(/stopped before [\d,]+ more/).waitFor();
  await page.getByRole("button", { name: "Other texts" }).click();
  await page.getByText("Drop a CSV or text file here").waitFor();
  await context.close();
});

test("files that are empty, too large, or of another encoding", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/compare" });
  await drop(page, "empty.csv", "");
  await page.getByText("empty.csv has no rows").waitFor();
  await page.locator("input[type=file]").setInputFiles({ name: "latin.csv", mimeType: "text/csv", buffer: Buffer.from("text\ncaf\xe9 au lait\nhello\n", "latin1") });
  await page.getByText("The first: row 2, characters that are not utf-8").waitFor();
  await context.close();
});

/** The site with something else in place of an artefact. */
async function withArtefact(answer, then, before = async () => {}, from = browser) {
  const faulty = await serveSite([["/artefacts/", answer]]);
  const context = await from.newContext();
  context.setDefaultTimeout(TIME_MS_MAX);
  const page = await context.newPage();
  try {
    await before(page, context, faulty);
    await page.goto(faulty.url);
    await then(page, faulty);
  } finally {
    await context.close();
    await faulty.close();
  }
}

test("no network, and then one", async () => {
  let isUp = false;
  const answer = (request, response) => (isUp ? response.end(readFileSync(regular.path)) : request.socket.destroy());
  await withArtefact(answer, async (page) => {
    await page.getByText("The model was not loaded").waitFor();
    assert.match(await page.getByRole("alert").innerText(), /cannot be reached.*network/s);
    isUp = true;
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("comes from").waitFor();
  });
});

test("a wrong digest, a missing file and a cut one are told apart", async () => {
  const changed = readFileSync(regular.path);
  changed[5_000_000] ^= 1;
  const alert = (expected) => async (page) => {
    await page.getByText("The model was not loaded").waitFor();
    assert.match(await page.getByRole("alert").innerText(), expected);
  };
  await withArtefact((_, response) => response.end(changed), alert(/SHA-256.*damaged.*digest/s));
  await withArtefact((_, response) => response.writeHead(404).end(), alert(/status 404/));
  await withArtefact((_, response) => response.end(changed.subarray(0, 100_000)), alert(/100000 bytes.*cut/s));
  await withArtefact((_, response) => (response.writeHead(200, { "content-length": changed.length }), response.write(changed.subarray(0, 900_000), () => response.destroy())), alert(/connection ended after \d+ bytes/i));
});

test("without room for a copy it works, and says so", async () => {
  const limit = async (page, context, faulty) => {
    const session = await context.newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: faulty.url, quotaSize: 1_500_000 });
  };
  const answer = (_, response) => response.end(readFileSync(regular.path));
  await withArtefact(
    answer,
    async (page) => {
      await page.getByText("Works, but is not kept").waitFor();
      await page.getByText("comes from").waitFor();
      await page.getByText("No copy is kept for offline use").waitFor();
    },
    limit,
  );
});

test("without SIMD the page says what would help", { skip: process.arch !== "x64" && "only x64 can switch it off" }, async () => {
  const old = await browse("--js-flags=--no-enable-sse4-1 --no-enable-ssse3");
  try {
    const fetched = [];
    const then = async (page) => {
      await page.getByText("This browser cannot run the model").waitFor();
      assert.match(await page.getByRole("alert").innerText(), /WebAssembly SIMD.*Firefox from 89/s);
    };
    await withArtefact((request, response) => (fetched.push(request.url), response.end()), then, undefined, old);
    assert.deepEqual(fetched, []);
  } finally {
    await old.close();
  }
});

test("everything is reached by keyboard", async () => {
  const { page, context } = await visit(browser, server.url);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), "Skip to the content");
  const reached = new Set();
  for (let i = 0; i < 60; i += 1) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.labels?.[0]?.textContent.trim() ?? document.activeElement.textContent.trim()));
  }
  for (const name of ["Palisade", "Chat room", "Compare", "Model", "Your text", "Friendly", "Toxicity: review at", "Toxicity: block at", "Threat: review at"]) {
    assert(reached.has(name) || [...reached].some((other) => other.startsWith(name)), `${name} is not among ${[...reached].join(" | ")}`);
  }
  await page.getByRole("link", { name: "Chat room" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "A chat that asks first" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  assert.equal(await page.title(), "Chat room · Palisade");
  await context.close();
});

test("another release can be chosen, and is remembered", async () => {
  const { page, context } = await visit(browser, server.url);
  assert.match(await page.locator(".facts").innerText(), /english-toxicity-small/);
  await page.getByLabel("Model").selectOption("default");
  await page.locator(".facts", { hasText: regular.sha256.slice(0, 12) }).waitFor();
  await page.reload();
  await page.locator(".facts", { hasText: regular.sha256.slice(0, 12) }).waitFor();
  await context.close();
});

test("the theme can be changed", async () => {
  const { page, context } = await visit(browser, server.url);
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await ground();
  await page.getByRole("button", { name: "Theme: auto" }).click();
  await page.getByRole("button", { name: "Theme: light" }).click();
  await page.getByRole("button", { name: "Theme: dark" }).waitFor();
  assert.notEqual(await ground(), light);
  await context.close();
});

test("bytes to load stay under 12 MB for the default release and 5 MB for the small one", () => {
  const folder = new URL("../dist/", import.meta.url);
  const files = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".br"));
  const size = (name) => statSync(new URL(name, folder)).size;
  const page = files.filter((name) => !name.startsWith("artefacts")).reduce((sum, name) => sum + size(name), 0);
  assert(page > 0);
  for (const [{ sha256 }, limit] of [[regular, 12_000_000], [small, 5_000_000]]) {
    const bytes = page + size(`artefacts/${sha256}.wasm.br`);
    console.log(`${bytes} bytes, of which the page has ${page}`);
    assert(bytes < limit, `${bytes} bytes`);
  }
});
