// What both workers for Node.js have in common: the protocol that ../../src/main.rs describes, and the watch.

import { createInterface } from 'node:readline';
import { performance } from 'node:perf_hooks';

/** Milliseconds of each repeat; `afterwards` gets what `step` gave, and is not timed. */
export async function times(repeats, step, afterwards = () => {}) {
  const ms = [];
  for (let i = 0; i < repeats; i += 1) {
    const start = performance.now();
    const kept = await step();
    ms.push(performance.now() - start);
    await afterwards(kept);
  }
  return { ms };
}

/** Answers one JSON object a line until the input ends. */
export async function serve(answer) {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
  }
}
