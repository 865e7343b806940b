// OpenAI's library for Node, which changes its base URL and nothing else; test_node.py starts this.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { given } from "./given.mjs";

const { OPEN_URL, KEYED_URL, KEY, WRONG_KEY, QUOTA_KEY, FRIENDLY, INSULT, THREAT } = given;
const client = (baseURL, apiKey) => new OpenAI({ baseURL: `${baseURL}/v1`, apiKey, maxRetries: 0 });
const open = client(OPEN_URL, "any");

test("a string has one result", async () => {
  const { id, model, results } = await open.moderations.create({ input: INSULT });
  assert.match(id, /^modr-/);
  assert.match(model, /^\S+-\d+\.\d+\.\d+/);
  assert.equal(results.length, 1);
  assert.equal(results[0].flagged, true);
  assert.equal(results[0].categories.harassment, true);
  assert.deepEqual(results[0].category_applied_input_types.harassment, ["text"]);
  assert.deepEqual([results[0].categories.violence, results[0].category_scores.violence], [false, 0]);
  assert.deepEqual(results[0].category_applied_input_types.violence, []);
});

test("a list has a result each, in its order", async () => {
  const input = [FRIENDLY, INSULT, THREAT];
  const { results } = await open.moderations.create({ model: "omni-moderation-latest", input });
  assert.deepEqual(results.map((result) => result.flagged), [false, true, true]);
  assert.equal(results[2].categories["harassment/threatening"], true);
});

test("text parts have one result", async () => {
  const input = [FRIENDLY, INSULT].map((text) => ({ type: "text", text }));
  const { results } = await open.moderations.create({ input });
  assert.deepEqual(results.map((result) => result.flagged), [true]);
});

test("an image is refused", async () => {
  const image = { type: "image_url", image_url: { url: "https://example.org/cat.png" } };
  await assert.rejects(open.moderations.create({ input: [image] }), (error) => {
    assert(error instanceof OpenAI.BadRequestError, error);
    assert.deepEqual([error.code, error.param], ["image_not_supported", "input[0]"]);
    return true;
  });
});

test("an unknown model is refused", async () => {
  const request = open.moderations.create({ model: "gpt-4", input: FRIENDLY });
  await assert.rejects(request, (error) => error instanceof OpenAI.BadRequestError && error.code === "model_not_found");
});

test("the environment variables are enough", async () => {
  process.env.OPENAI_BASE_URL = `${OPEN_URL}/v1`;
  process.env.OPENAI_API_KEY = "any";
  const { results } = await new OpenAI().moderations.create({ input: INSULT });
  assert.equal(results[0].flagged, true);
});

test("the right key is let in, and a wrong one is not", async () => {
  assert.equal((await client(KEYED_URL, KEY).moderations.create({ input: INSULT })).results[0].flagged, true);
  const wrong = client(KEYED_URL, WRONG_KEY).moderations.create({ input: INSULT });
  await assert.rejects(wrong, (error) => {
    assert(error instanceof OpenAI.AuthenticationError, error);
    assert.equal(error.code, "invalid_api_key");
    return true;
  });
});

test("too many requests are refused until later", async () => {
  const limited = client(KEYED_URL, QUOTA_KEY);
  const requests = [0, 1, 2].map(() => limited.moderations.create({ input: FRIENDLY }));
  const refused = (await Promise.allSettled(requests)).filter(({ status }) => status === "rejected");
  assert.equal(refused.length, 1);
  assert(refused[0].reason instanceof OpenAI.RateLimitError, refused[0].reason);
  assert(Number(refused[0].reason.headers.get("retry-after")) >= 1);
});
