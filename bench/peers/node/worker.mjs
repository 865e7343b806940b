// onnxruntime-web as a peer of the component: the same model file, WebAssembly, one thread. It speaks the protocol that
// ../../src/main.rs describes, less the mode "instantiate".
//
//     node worker.mjs MODEL_ONNX TOKENIZER_JSON WORD

import { readFile } from 'node:fs/promises';
import * as ort from 'onnxruntime-web';
import { serve, times } from './serve.mjs';

const [modelFile, tokenizerFile, word] = process.argv.slice(2);
const options = { executionProviders: ['wasm'] };
ort.env.wasm.numThreads = 1;

const model = await readFile(modelFile);
const { vocab } = JSON.parse(await readFile(tokenizerFile, 'utf8')).model;
const session = await ort.InferenceSession.create(model, options);

/** `word`, repeated to `tokens` tokens, special tokens included. */
function input(tokens) {
  const [first, middle, last] = ['[CLS]', word, '[SEP]'].map((token) => {
    if (vocab[token] === undefined) throw new Error(`${tokenizerFile} has no token ${token}`);
    return BigInt(vocab[token]);
  });
  const ids = BigInt64Array.of(first, ...Array(tokens - 2).fill(middle), last);
  return { input_ids: new ort.Tensor('int64', ids, [1, tokens]) };
}

async function firstRun(feeds) {
  const fresh = await ort.InferenceSession.create(model, options);
  await fresh.run(feeds);
  return fresh;
}

async function answer({ mode, tokens, repeats }) {
  if (mode === 'about') return { version: ort.env.versions.web, runtime: `Node.js ${process.versions.node}` };
  const feeds = input(tokens);
  switch (mode) {
    case 'warm':
      await session.run(feeds);
      return times(repeats, () => session.run(feeds));
    case 'cold':
      return times(repeats, () => firstRun(feeds), (fresh) => fresh.release());
    case 'scores': {
      const { logits } = await session.run(feeds);
      return { scores: Array.from(logits.data, (logit) => 1 / (1 + Math.exp(-logit))) };
    }
    default:
      throw new Error(`there is no mode ${mode}`);
  }
}

await serve(answer);
