// What each engine does in the page: `start` makes it ready, `score` answers one text of so many tokens.
const WORD = "people";

/** WORD, repeated to so many tokens, the two special ones included. */
const textOf = (tokens) => Array(tokens - 2).fill(WORD).join(" ");
const sigmoid = (logits) => Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)));

const engines = {
  async palisade({ artefact, sha256 }) {
    const { load } = await import("/moderation/index.js");
    const classifier = await load({ artefact, sha256 });
    return async (tokens) => {
      const { results } = await classifier.classify([textOf(tokens)]);
      if (results[0].tokens !== tokens) throw new Error(`the model read ${results[0].tokens} of ${tokens} tokens`);
      return Array.from(results[0].scores);
    };
  },
  /** The model alone, on ready ids: whoever uses it brings a tokenizer. */
  async "onnxruntime-web"({ model, vocabulary }) {
    const ort = await import("/modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs");
    ort.env.wasm.wasmPaths = "/modules/onnxruntime-web/dist/";
    ort.env.wasm.numThreads = 1;
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    return async (tokens) => {
      const ids = BigInt64Array.of(vocabulary.first, ...Array(tokens - 2).fill(vocabulary.word), vocabulary.last);
      const { logits } = await session.run({ input_ids: new ort.Tensor("int64", ids, [1, tokens]) });
      return sigmoid(logits.data);
    };
  },
  async "transformers.js"({ dtype }) {
    const { AutoModelForSequenceClassification, AutoTokenizer, env } = await import("/modules/@huggingface/transformers/dist/transformers.min.js");
    env.allowRemoteModels = false;
    env.allowLocalModels = true;
    env.localModelPath = "/models/";
    env.backends.onnx.wasm.wasmPaths = "/modules/@huggingface/transformers/node_modules/onnxruntime-web/dist/"; // its own version
    env.backends.onnx.wasm.numThreads = 1;
    const tokenizer = await AutoTokenizer.from_pretrained("release");
    const model = await AutoModelForSequenceClassification.from_pretrained("release", { dtype, device: "wasm" });
    return async (tokens) => {
      const inputs = await tokenizer(textOf(tokens));
      if (inputs.input_ids.dims[1] !== tokens) throw new Error(`the model read ${inputs.input_ids.dims[1]} of ${tokens} tokens`);
      const { logits } = await model(inputs);
      return sigmoid(logits.data);
    };
  },
};

let score;
const bigints = ({ vocabulary, ...rest }) => ({ ...rest, vocabulary: vocabulary && Object.fromEntries(Object.entries(vocabulary).map(([name, id]) => [name, BigInt(id)])) });

globalThis.bench = {
  /** Makes an engine ready and has its first score: milliseconds since the page was asked for. */
  async first(engine, options, tokens) {
    score = await engines[engine](bigints(options));
    const scores = await score(tokens);
    return { ms: performance.now(), scores };
  },
  /** Milliseconds of each of some scores. */
  async times(tokens, repeats) {
    const ms = [];
    for (let i = 0; i < repeats; i += 1) {
      const start = performance.now();
      await score(tokens);
      ms.push(performance.now() - start);
    }
    return ms;
  },
};
