// Google's library for Node, which starts from the discovery document; test_node.py starts this.
import assert from "node:assert/strict";
import { test } from "node:test";
import { google } from "googleapis";
import { given } from "./given.mjs";

const { OPEN_URL, KEYED_URL, KEY, WRONG_KEY, FRIENDLY, INSULT, TWO_SENTENCES } = given;
const discover = (url) => google.discoverAPI(`${url}/$discovery/rest?version=v1alpha1`);
const open = await discover(OPEN_URL);
const keyed = await discover(KEYED_URL);
const comment = (text, more = {}) => ({ comment: { text }, requestedAttributes: { TOXICITY: {} }, ...more });

test("a comment is scored", async () => {
  const { status, data } = await open.comments.analyze({ key: "any", resource: comment(INSULT, { clientToken: "t" }) });
  assert.equal(status, 200);
  assert(data.attributeScores.TOXICITY.summaryScore.value > 0.7);
  assert.equal(data.attributeScores.TOXICITY.summaryScore.type, "PROBABILITY");
  assert.equal(data.clientToken, "t");
});

test("a callback gets the answer", async () => {
  const data = await new Promise((resolve, reject) => {
    open.comments.analyze({ key: "any", resource: comment(FRIENDLY) }, (error, response) =>
      error ? reject(error) : resolve(response.data),
    );
  });
  assert(data.attributeScores.TOXICITY.summaryScore.value < 0.1);
});

test("spans are offsets into a string of JavaScript", async () => {
  const resource = comment(TWO_SENTENCES, { spanAnnotations: true });
  const { data } = await open.comments.analyze({ key: "any", resource });
  const sentences = data.attributeScores.TOXICITY.spanScores.map(({ begin, end }) => TWO_SENTENCES.slice(begin, end));
  assert.equal(sentences.length, 2);
  assert.equal(sentences.join(" "), TWO_SENTENCES);
  assert(sentences.every((sentence) => sentence.startsWith("😀") && sentence.endsWith(".")), sentences);
});

test("fields select a part of the answer", async () => {
  const { data } = await open.comments.analyze({ key: "any", fields: "languages", requestBody: comment(INSULT) });
  assert.deepEqual(Object.keys(data), ["languages"]);
});

test("a score is suggested", async () => {
  const resource = {
    comment: { text: INSULT },
    attributeScores: { TOXICITY: { summaryScore: { value: 1 } } },
    clientToken: "comment:19",
    languages: ["en"],
  };
  const { data } = await open.comments.suggestscore({ key: "any", resource });
  assert.deepEqual(data, { clientToken: "comment:19", detectedLanguages: ["en"], requestedLanguages: ["en"] });
});

test("refusals have the message of the original", async () => {
  await assert.rejects(open.comments.analyze({ key: "any", resource: comment("") }), (error) => {
    assert.deepEqual([error.code, error.message], [400, "Comment must be non-empty."]);
    return true;
  });
});

test("the right key is let in, and a wrong one is not", async () => {
  assert.equal((await keyed.comments.analyze({ key: KEY, resource: comment(INSULT) })).status, 200);
  assert.equal((await keyed.comments.analyze({ auth: KEY, resource: comment(INSULT) })).status, 200);
  await assert.rejects(keyed.comments.analyze({ key: WRONG_KEY, resource: comment(INSULT) }), (error) => {
    assert.equal(error.message, "API key not valid. Please pass a valid API key.");
    return true;
  });
});
