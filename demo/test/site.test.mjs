// The three pages, driven as a person would.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { after, before, test } from "node:test";
import { load } from "@palisade/moderation";
import { artefacts } from "../../packages/moderation/scripts/artefacts.mjs";
import { answerRoom, browse, browseWithoutStorage, enter, loaded, recommended, serveSite, serveVersions, texts, TIME_MS_MAX, visit } from "./parts.mjs";

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

/** Writes a text, and waits until all that is shown is of it. */
const write = async (page, text) => {
  await page.getByLabel("Your text").fill(text);
  await read(page, text);
};
const read = (page, text) => page.locator(".reading[data-words=true]", { hasText: text }).waitFor();

/** Waits for a page of the site, as somebody who goes there finds it. */
const arrived = (page, name) => page.waitForFunction((title) => document.activeElement.id === "main" && document.title === title, `${name} · Palisade`);

/** Ends the page's worker as a fault in it does. The page terminates it when it has heard of the fault. */
const breakWorker = async (page) => {
  const fault = () => void setTimeout(() => { throw new Error("the worker broke"); });
  await Promise.all(page.workers().flatMap((worker) => [worker.waitForEvent("close"), worker.evaluate(fault)]));
};

/**
 * Watches a page from now on. What it gives fails where the page showed no frame for a second, unless another one, which has a little to do
 * in each frame, had to wait for its frames too: then it is the machine.
 */
async function watched(page) {
  const other = await (await browser.newContext()).newPage();
  const watch = (words) => {
    let last = performance.now();
    globalThis.longest = 0;
    const look = (now) => {
      globalThis.longest = Math.max(globalThis.longest, now - last);
      last = now;
      if (words > 0) document.body.textContent = `${now}${" word".repeat(words)}`;
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  };
  await Promise.all([page.evaluate(watch, 0), other.evaluate(watch, 3_000)]);
  return async () => {
    const longest = await page.evaluate(() => globalThis.longest);
    const usual = await other.evaluate(() => globalThis.longest);
    await other.context().close();
    assert(longest < 1_000 || longest < 30 * usual, `the page slept for ${longest} ms, the other for ${usual} ms`);
  };
}

test("what is typed is scored as everywhere, whatever was typed before it", async () => {
  const { page, context, complaints } = await visit(browser, server.url);
  const field = page.getByLabel("Your text");
  await field.fill("");
  const text = "You are a kind and helpful person, thank you. But your brother is an idiot.";
  await field.pressSequentially(text, { delay: 5 });
  await read(page, text);
  await page.getByText("comes from").waitFor();
  const shown = await page.locator(".score").allInnerTexts();
  const classifier = await load({ artefact: small.path, sha256: small.sha256 });
  const { labels, results } = await classifier.classify([text]);
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
  await write(page, "That was a rather dumb idea.");
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
  await write(page, "You are an idiot, and this is not for you to keep.");
  assert.deepEqual(server.requests.slice(before), []);
  assert.equal(await page.locator("[data-requests]").getAttribute("data-requests"), "0");

  await context.setOffline(true);
  await page.reload();
  await loaded(page);
  await write(page, "Still here, you idiot.");
  await page.getByText("You are offline, and it works").waitFor();
  const facts = await page.locator(".facts").innerText();
  assert.match(facts, /from this browser's copy, verified/);
  assert.match(facts, new RegExp(`sha256 ${regular.sha256.slice(0, 12)}`));
  await context.close();
});

test("what leaves the page is counted: by the page, by its worker, and over a WebSocket", async () => {
  const { page, context } = await visit(browser, server.url);
  await answerRoom(page);
  await page.getByText("comes from").waitFor();
  const counts = page.locator("[data-requests]");
  assert.equal(await counts.innerText(), "Nothing");
  await page.evaluate(() => fetch("collect?text=idiot"));
  await page.getByText("1 request", { exact: true }).waitFor();
  assert.equal(page.workers().length, 1);
  await page.workers()[0].evaluate(() => fetch("../collect", { method: "POST", body: "idiot" }).then(() => {}));
  await page.getByText("2 requests", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Chat room" }).click();
  await enter(page, "Ana", { place: "server" });
  await send(page, "Hello everybody");
  await page.locator(".message[data-state=shown]").waitFor();
  await page.getByRole("link", { name: "Playground" }).click();
  await page.getByText("2 requests, 3 messages to rooms").waitFor(); // to join, to say hello, and to leave
  await context.close();
});

test("where no service worker may be installed, no copy is promised", async (t) => {
  const without = await serveSite([["/service-worker.js", (_, response) => response.writeHead(404).end()]]);
  t.after(() => without.close());
  const { page, context } = await visit(browser, without.url);
  await page.getByText("No copy is kept for offline use").waitFor();
  await context.close();
});

test("a window of the previous version keeps its files until it is closed", async (t) => {
  const site = await serveVersions();
  t.after(() => site.close());
  const { page, context } = await visit(browser, site.url);
  await page.getByText("Try it: switch off your network").waitFor();
  const caches = (page) => page.evaluate(async () => (await globalThis.caches.keys()).filter((name) => name.startsWith("palisade-site-")));
  const [first] = await caches(page);
  site.replace();
  await page.evaluate(async () => {
    const registration = await navigator.serviceWorker.getRegistration();
    await registration.update();
    const worker = registration.installing ?? registration.waiting;
    while (!["installed", "activated"].includes(worker.state)) await new Promise((resolve) => worker.addEventListener("statechange", resolve, { once: true }));
    // The fault came with the activation that follows at once.
    await new Promise((resolve) => setTimeout(resolve, 500));
  });
  const [oldWorker] = [...site.names.keys()].filter((name) => name.startsWith("classifier-worker-"));
  assert.equal((await fetch(`${site.url}/assets/${oldWorker}`)).status, 404, "the server has it no more");
  await breakWorker(page);
  await page.getByLabel("Your text").fill("You are a fool.");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("comes from").waitFor();

  // A window that comes before the old version has gone is that one's too, and keeps it.
  let later = page;
  do {
    await later.close();
    later = await context.newPage();
    await later.goto(site.url);
    await later.getByText("Try it: switch off your network").waitFor();
    assert.match(await later.content(), /assets\/index-next\.js/);
  } while ((await caches(later)).includes(first));
  assert.deepEqual(await caches(later), ["palisade-site-next"]);
  await context.close();
});

test("a megabyte that is pasted is read from its beginning, and the page answers", async () => {
  const { page, context } = await visit(browser, server.url);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const field = page.getByLabel("Your text");
  await field.fill("");
  await page.evaluate(() => navigator.clipboard.writeText("All of this is one long text of the same words. ".repeat(22_000)));
  const stayedAwake = await watched(page);
  await field.focus();
  await page.keyboard.press("Control+V");
  await page.getByText("Only the beginning was read").waitFor();
  assert.match(await page.locator(".notice.warning").innerText(), /1,056,000 characters; the first 100,000 are here/);
  await field.fill("Thank you.");
  await page.locator(".chip", { hasText: "Allow" }).waitFor();
  await page.locator(".notice").first().waitFor({ state: "detached" });
  await stayedAwake();
  await context.close();
});

test("scripts from right to left keep their parts apart", async () => {
  const { page, context } = await visit(browser, server.url);
  const text = "שלום לכולם! You are an idiot. مرحبا بالعالم 👩‍👩‍👧.";
  await write(page, text);
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
  await nudge.waitFor({ state: "detached" });
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

test("a tab that was duplicated is somebody else", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
  await enter(page, "Ana");
  const client = (page) => page.evaluate(() => sessionStorage.getItem("palisade-client"));
  const [copy] = await Promise.all([context.waitForEvent("page"), page.evaluate(() => void open(location.href))]);
  await loaded(copy);
  await copy.waitForFunction((first) => sessionStorage.getItem("palisade-client") !== first, await client(page));
  await enter(copy, "Bo");
  await page.getByText("2 people").waitFor();
  await copy.getByText("2 people").waitFor();
  await send(page, "Hello from the first tab");
  assert.match(await copy.locator(".message").innerText(), /^Ana/);
  await page.reload();
  await loaded(page);
  await enter(page, "Ana");
  assert.match(await page.locator(".message").innerText(), /^You/, "the same tab after it was loaded again");
  await context.close();
});

test("where storage is blocked the pages work, and forget", async (t) => {
  const context = await browseWithoutStorage(t);
  context.setDefaultTimeout(TIME_MS_MAX);
  const tab = async (name, options) => {
    const page = await context.newPage();
    await page.goto(`${server.url}/#/chat`);
    await page.getByRole("combobox", { name: "Model" }).selectOption("small");
    await loaded(page);
    await enter(page, name, options);
    return page;
  };
  const ana = await tab("Ana");
  const bo = await tab("Bo", { moderator: true });
  await ana.getByText("2 people").waitFor();
  await send(ana, "You are an idiot.");
  await ana.getByRole("button", { name: "Send anyway" }).click();
  await bo.locator("[data-id]").getByRole("button", { name: "Approve" }).click();
  await ana.getByText("approved by a moderator").waitFor();
  await send(ana, "Hello again");
  await bo.locator(".bubble", { hasText: "Hello again" }).waitFor();
});

test("on plain HTTP there is no model, and the room of a server works", async () => {
  const plain = await browse("--host-resolver-rules=MAP palisade.test 127.0.0.1");
  try {
    const context = await plain.newContext();
    context.setDefaultTimeout(TIME_MS_MAX);
    const page = await context.newPage();
    await answerRoom(page);
    await page.goto(`${server.url.replace("127.0.0.1", "palisade.test")}/#/chat`);
    assert.equal(await page.evaluate(() => isSecureContext), false);
    await page.getByRole("alert").getByText("serve the page over HTTPS").waitFor();
    await enter(page, "Ana", { place: "server" });
    await send(page, "Is anybody there?");
    await page.locator(".message[data-state=shown]", { hasText: "Is anybody there?" }).waitFor();
  } finally {
    await plain.close();
  }
});

test("what is typed while a message is judged is neither sent nor lost", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
  const { heard } = await answerRoom(page);
  await enter(page, "Ana", { place: "server" });
  for (const [first, then] of [["Good morning everybody", ", how are you?"], ["You are an idiot", " of a dog, and a good one"]]) {
    // Enter and a letter more at once, as a quick typist has it: the judgement comes after both.
    await message(page).fill(first);
    await message(page).evaluate((field, then) => {
      field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
      field.value += then;
      field.dispatchEvent(new InputEvent("input", { bubbles: true }));
    }, then);
    await page.getByText("Not sent: the message was changed while it was judged.").waitFor();
    assert.equal(await message(page).inputValue(), first + then);
    assert.equal(await page.getByRole("alertdialog").count(), 0);
  }
  assert.deepEqual(heard.filter(({ type }) => type === "message"), []);
  await message(page).press("Enter");
  await page.getByRole("button", { name: "Send anyway" }).click();
  await page.locator(".message[data-state=shown]").waitFor();
  const [sent] = heard.filter(({ type }) => type === "message");
  assert.equal(sent.text, "You are an idiot of a dog, and a good one");
  assert(sent.browser.fired.length > 0);
  await context.close();
});

test("over a WebSocket: a lost connection is made again, and the same message has the same id", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
  let goOn;
  const seen = new Promise((resolve) => (goOn = resolve));
  const { heard, count } = await answerRoom(page, async (said, tell, socket) => {
    if (said.type === "message" && count() === 1) socket.close({ code: 1011 });
    else if (said.text === "too many") tell({ type: "error", code: "too-fast", detail: "try again in 3 s", id: said.id });
    else {
      if (count() > 1) await seen;
      return false;
    }
    return true;
  });
  await enter(page, "Ana", { place: "server" });
  await send(page, "Is anybody there?");
  await page.getByText("sending…").waitFor();
  goOn();
  await page.locator(".message[data-state=shown]").waitFor();
  assert.equal(count(), 2);
  const sent = heard.filter(({ type }) => type === "message");
  assert.equal(sent.length, 2);
  assert.deepEqual(sent[0], sent[1]);
  assert.equal(sent[0].browser.verdict, "allow");
  assert.deepEqual(Object.keys(heard[0]).sort(), ["client", "key", "name", "role", "type"]);
  await send(page, "too many");
  await page.getByText("Try again in 3 s").waitFor();
  await page.waitForFunction(() => document.querySelector("textarea").value === "too many");
  await context.close();
});

test("a server without rooms is named", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
  await page.getByLabel("Your name").fill("Ana");
  await page.getByLabel("This server").check();
  await page.getByRole("button", { name: "Enter the room" }).click();
  await page.getByRole("alert").getByText("has no rooms, or cannot be reached").waitFor();
  await page.getByRole("button", { name: "Back" }).click();
  await page.getByLabel("Your name").waitFor();
  await context.close();
});

test("below a path, the rooms are there too", async (t) => {
  const below = await serveSite([], { below: "/palisade/" });
  t.after(() => below.close());
  const { page, context } = await visit(browser, `${below.url}/palisade`, { hash: "#/chat" });
  let asked;
  const address = new Promise((resolve) => (asked = resolve));
  await page.routeWebSocket(/./, (socket) => asked(new URL(socket.url()).pathname));
  await page.getByLabel("Your name").fill("Ana");
  await page.getByLabel("This server").check();
  await page.getByRole("button", { name: "Enter the room" }).click();
  await page.getByText("connecting").waitFor();
  assert.equal(await address, "/palisade/v1/rooms/lounge");
  await context.close();
});

test("a connection that the page's policy forbids is told, and not waited for", async (t) => {
  const closed = await serveSite([], { policy: recommended().replace(/connect-src [^;]*/, "connect-src 'none'") });
  t.after(() => closed.close());
  const { page, context } = await visit(browser, closed.url, { hash: "#/chat", ready: false });
  await page.getByLabel("Your name").fill("Ana");
  await page.getByLabel("This server").check();
  await page.getByRole("button", { name: "Enter the room" }).click();
  await page.getByRole("alert").getByText("has no rooms, or cannot be reached").waitFor();
  await context.close();
});

test("who may not moderate is told why, and can join as a member", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/chat", size: "phone" });
  const detail = "the key may not moderate: a key of this server needs moderates = true for that";
  const { heard } = await answerRoom(page, (said, tell, socket) => {
    if (said.role !== "moderator") return false;
    tell({ type: "error", code: "unauthorised", detail, id: null });
    socket.close({ code: 1008 });
    return true;
  });
  await page.getByLabel("Your name").fill("Bo");
  await page.getByLabel("A moderator").check();
  await page.getByLabel("This server").check();
  await page.getByLabel("Key").fill("a key");
  await page.getByRole("button", { name: "Enter the room" }).click();
  await page.getByRole("alert").getByText("The key may not moderate").waitFor();
  const isCovered = await page.locator("#room-name").evaluate((name) => name.getBoundingClientRect().top < document.querySelector("header.top").getBoundingClientRect().bottom);
  assert.equal(isCovered, false, "the room's name is under the page's header");
  assert.equal(await page.getByRole("alert").count(), 1);
  await page.getByRole("button", { name: "Join as a member" }).click();
  await page.getByText("Nobody has said anything yet.").waitFor();
  assert.deepEqual(heard.map(({ role, key }) => [role, key]), [["moderator", "a key"], ["member", "a key"]]);
  await context.close();
});

test("what was held for another reason than its scores says so, to its author and to moderators", async () => {
  for (const moderator of [false, true]) {
    const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
    await answerRoom(page, (said, tell) => {
      if (said.type !== "message") return false;
      const release = { name: "english-toxicity", version: "0.0.0", digest: "0".repeat(64) };
      const judgement = { verdict: "review", fired: [], scores: {}, release, reasons: ["unsupported-language", "truncated"] };
      tell({ type: "message", message: { ...said, sequence: 1, at: new Date().toISOString(), author: { client: "public-1", name: "Ana" }, state: "held", browser: undefined, server: judgement, moderation: null } });
      return true;
    });
    await enter(page, "Ana", { place: "server", moderator });
    await send(page, "Guten Morgen zusammen");
    const note = page.locator(".message-note", { hasText: "held for a moderator" });
    await note.waitFor();
    assert.match(await note.innerText(), /in a language that the model was not trained for, and too long .*; only you and moderators see it/);
    assert.match(await page.locator(".message").innerText(), /^You/);
    if (moderator) assert.match(await page.locator("[data-id]").innerText(), /In a language that the model was not trained for\.\s+Too long/);
    await context.close();
  }
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
  const stayedAwake = await watched(page);
  await drop(page, "comments.csv", csv);
  await page.getByText("of 5,000 texts").first().waitFor();
  await page.getByRole("button", { name: /^Insult/ }).first().waitFor();
  await page.getByText("5,000 texts in").waitFor({ timeout: 2 * TIME_MS_MAX });
  await stayedAwake();
  assert.equal(await page.getByLabel("Text is in").inputValue(), "1");
  assert((await page.locator("tbody tr").count()) < 60, "only rows in sight exist");

  await page.getByRole("columnheader", { name: "Insult" }).getByRole("button").click();
  assert.equal(await page.getByRole("columnheader", { name: "Insult" }).getAttribute("aria-sort"), "descending");
  assert.match(await page.locator("tbody tr:not(.space)").first().innerText(), /idiot/);
  // Each time anew: the page scrolls to the top a moment after the table was sorted.
  await page.waitForFunction(() => {
    const box = document.querySelector(".table-box");
    box.scrollTo(0, box.scrollHeight);
    return box.querySelector('tr[aria-rowindex="5001"]');
  });

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

test("a text that the engine fails on has no verdict, no scores, and no part in the plots", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/compare" });
  // A fault in the engine's way to one text: it cannot be handed over.
  await page.workers()[0].evaluate(() => {
    for (const name of ["encode", "encodeInto"]) {
      const encode = TextEncoder.prototype[name];
      TextEncoder.prototype[name] = function (text, ...more) {
        if (text.includes("⚡")) throw new Error("no way through");
        return encode.call(this, text, ...more);
      };
    }
  });
  const lines = ["Thank you, that was kind", "You are an idiot ⚡", "You are an idiot", "Is the ferry on time"];
  await page.getByLabel("Or paste texts").fill(lines.join("\n"));
  await page.getByRole("button", { name: "Score the lines" }).click();
  await page.getByText("4 texts in").waitFor();
  assert.match(await page.locator('tr[data-row="2"]').innerText(), /failed\s+–/);
  assert.match(await page.getByRole("button", { name: /^Insult 33%/ }).innerText(), /33%/);
  const exported = async () => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export CSV" }).click()]);
    return readFileSync(await download.path(), "utf8").split("\r\n");
  };
  const [header, , failed] = await exported();
  const labels = header.split(",").length - 5;
  assert.match(failed, new RegExp(`^You are an idiot ⚡,failed,{${labels + 2}}english-toxicity`));
  await page.getByRole("combobox", { name: "Verdict" }).selectOption("allow");
  await page.getByText("2 of 4 texts").waitFor();
  await page.getByRole("combobox", { name: "Verdict" }).selectOption("failed");
  await page.getByText("1 of 4 texts").waitFor();
  assert.equal((await exported()).length, 2);
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
  await page.getByText("of 10,000 texts").first().waitFor(); // with the quotes there were fewer
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
  for (const name of ["latin.txt", "latin.log"]) {
    await page.getByRole("button", { name: "Other texts" }).click();
    await page.locator("input[type=file]").setInputFiles({ name, mimeType: "text/plain", buffer: Buffer.from("hello\ncaf\xe9 au lait\n", "latin1") });
    await page.getByText("The first: row 2, characters that are not utf-8").waitFor();
    assert.equal(await page.getByText("quotation mark").count(), 0);
  }
  await page.getByRole("button", { name: "Other texts" }).click();
  await page.locator("input[type=file]").setInputFiles({ name: "excel.csv", mimeType: "text/csv", buffer: Buffer.from("\ufefftext;stars\ncafé au lait;5\n", "utf16le") });
  await page.getByRole("button", { name: "café au lait" }).waitFor();
  await page.getByRole("button", { name: "Other texts" }).click();
  for (const name of ["large.csv", "large.txt", "large.log"]) {
    const transfer = await page.evaluateHandle((name) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(64 * 1024 * 1024 + 1).fill(97)], name));
      return transfer;
    }, name);
    await page.locator(".drop").dispatchEvent("drop", { dataTransfer: transfer });
    await page.getByRole("alert").getByText(`${name} has 67,108,865 bytes; at most 67,108,864 are read here`).waitFor();
  }
  await context.close();
});

test("characters of several bytes come through, wherever the parts of a large file meet", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/compare" });
  // 1.2 MB of two bytes a character, after an odd number of bytes.
  const lines = Array.from({ length: 300 }, (_, i) => `${i},${"é".repeat(2_000)}`);
  await drop(page, "accents.csv", ["n,text", ...lines].join("\n"));
  await page.getByText("300 texts in").waitFor();
  assert.equal(await page.locator(".notice.warning").count(), 0);
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
  let cut;
  const part = (_, response) => ((cut = () => response.destroy()), response.writeHead(200, { "content-length": changed.length }), response.write(changed.subarray(0, 900_000)));
  await withArtefact(part, async (page) => {
    // The connection ends when some bytes have come: what is not read by then is lost.
    await page.locator("[role=progressbar]:not([aria-valuenow='0'])").waitFor();
    cut();
    await alert(/connection ended after [1-9]\d* bytes/i)(page);
  });
});

test("a model that stops is told, and can be loaded again", async () => {
  const { page, context } = await visit(browser, server.url);
  await page.getByText("comes from").waitFor();
  await breakWorker(page);
  await page.getByLabel("Your text").fill("You are a fool.");
  await page.getByText("The model has stopped").waitFor();
  assert.match(await page.getByRole("alert").innerText(), /the worker broke/);
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("comes from").waitFor();
  await page.getByRole("alert").waitFor({ state: "detached" });
  await context.close();
});

test("where the model stops, a server's room takes messages unjudged, and a local one waits", async () => {
  for (const place of ["server", "local"]) {
    const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
    const { heard } = await answerRoom(page);
    await enter(page, "Ana", { place });
    await breakWorker(page);
    await message(page).fill("Is anybody there?");
    await page.getByText("The model has stopped").waitFor();
    const button = page.getByRole("button", { name: "Send", exact: true });
    if (place === "server") {
      await page.getByText("Without the model, only the server judges.").waitFor();
      await button.click();
    } else {
      await page.getByText("Without the model nobody judges").waitFor();
      assert(await button.isDisabled());
      await page.getByRole("button", { name: "Try again" }).click();
      await page.getByText("Reads fine.").waitFor();
      await button.click();
    }
    await page.locator(".message[data-state=shown]", { hasText: "Is anybody there?" }).waitFor();
    assert.deepEqual(heard.filter(({ type }) => type === "message").map(({ text, browser }) => [text, browser]), place === "server" ? [["Is anybody there?", null]] : []);
    await context.close();
  }
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
  await arrived(page, "Chat room");
  await context.close();
});

test("the keyboard keeps its place where what had it goes away", async () => {
  const { page, context } = await visit(browser, server.url, { hash: "#/chat" });
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.closest("[data-id]")?.innerText || document.activeElement.tagName);
  const focusIs = (id) => page.waitForFunction((id) => document.activeElement.id === id, id);
  await page.getByLabel("Your name").fill("Bo");
  await page.getByLabel("A moderator").check();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.tagName === "TEXTAREA");
  for (const text of ["You are an idiot.", "You are a fool.", "He is an idiot."]) {
    await page.keyboard.type(text);
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Send anyway" }).press("Enter");
    await page.locator("[data-id]", { hasText: text }).waitFor();
  }
  await page.locator("[data-id]").first().getByRole("button", { name: "Approve" }).focus();
  await page.keyboard.down("Enter");
  await page.keyboard.down("Enter"); // held down: it repeats, and decides no more
  await page.keyboard.up("Enter");
  await page.waitForFunction(() => document.querySelectorAll("[data-id]").length === 2);
  assert.match(await focused(), /You are a fool/);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll("[data-id]").length === 1);
  assert.match(await focused(), /He is an idiot/);
  await page.keyboard.press("Enter");
  await page.getByText("Nothing is waiting for you.").waitFor();
  assert.equal(await focused(), "queue-name");
  await page.getByRole("button", { name: "Remove the message" }).first().press("Enter");
  await page.locator(".message.removed").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("role")), "log");
  await page.getByRole("button", { name: "Leave" }).press("Enter");
  await page.getByLabel("Your name").waitFor();
  await focusIs("main");

  await page.goto(`${server.url}/#/compare`);
  await arrived(page, "Compare");
  await page.getByRole("button", { name: "Use the sample comments" }).press("Enter");
  await page.getByRole("button", { name: "Other texts" }).waitFor();
  await focusIs("main");
  await page.getByRole("button", { name: "Other texts" }).press("Enter");
  await page.getByText("Or paste texts").waitFor();
  await focusIs("main");
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
  const light = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.getByRole("button", { name: "Theme: auto" }).click();
  await page.getByRole("button", { name: "Theme: light" }).click();
  await page.getByRole("button", { name: "Theme: dark" }).waitFor();
  await page.waitForFunction((light) => getComputedStyle(document.documentElement).backgroundColor !== light, light);
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
