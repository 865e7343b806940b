import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "@palisade/moderation";

test("a text is scored", async () => {
  const classifier = await load({ artefact: process.env.ARTEFACT, sha256: process.env.SHA256 });
  const { release, labels, results } = await classifier.classify(["You are an idiot."]);
  console.log(`${release.name} ${labels[2]} ${results[0].scores[2].toFixed(6)}`);
  assert.equal(results.length, 1);
});
