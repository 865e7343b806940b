// What Node and a browser do alike: score texts, and give the scores' bits.

/** The first texts of a file, which has one JSON string a line. */
export function firstTexts(jsonl, count) {
  return jsonl.split("\n").slice(0, count).map((line) => JSON.parse(line));
}

/** The scores of all texts one after the other, as float32 in the machine's byte order. */
export function scores(classifier, texts) {
  const options = { spans: false, words: false };
  const all = texts.flatMap((text) => Array.from(classifier.classify([text], options).results[0].scores));
  return new Uint8Array(Float32Array.from(all).buffer);
}
