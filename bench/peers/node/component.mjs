// The component in V8, as jco transpiles it: one thread. It speaks the protocol that ../../src/main.rs describes, of which it
// has the modes "about", "warm" and "scores".
//
//     node component.mjs ARTEFACT FOLDER WORD
//
// FOLDER takes the transpiled component.

import { transpiled } from '../../../conformance/transpile.mjs';
import { serve, times } from './serve.mjs';

const [artefact, folder, word] = process.argv.slice(2);
const classifier = await transpiled(artefact, folder);

/** The scores of `word`, repeated to `tokens` tokens, special tokens included. */
function scores(tokens) {
  const text = Array(tokens - 2).fill(word).join(' ');
  const [result] = classifier.classify([text], { spans: false, words: false }).results;
  if (result.tokens !== tokens || result.truncated) throw new Error(`the model read ${result.tokens} of ${tokens} tokens`);
  return result.scores;
}

await serve(({ mode, tokens, repeats }) => {
  switch (mode) {
    case 'about':
      return { version: classifier.describe().release.version, runtime: `Node.js ${process.versions.node}` };
    case 'warm':
      scores(tokens);
      return times(repeats, () => scores(tokens));
    case 'scores':
      return { scores: Array.from(scores(tokens)) };
    default:
      throw new Error(`there is no mode ${mode}`);
  }
});
