// The worker's side: what it is told, what it answers, and in what order it works.
import { keep, obtain, type Open, type Source } from "./artefact.js";
import { coreModule } from "./component.js";
import type { Classification, Description, Options } from "./contract/interface.js";
import { checkSupport, compile, Engine } from "./engine.js";
import { ModerationError, type Problem } from "./errors.js";
import type { Loading, Progress } from "./types.js";

/** What the worker is told. */
export type Order =
  | { type: "start"; source: Source }
  /** Starts a module that an earlier worker compiled. */
  | { type: "restart"; module: WebAssembly.Module }
  | { type: "classify"; id: number; texts: string[]; options: Options }
  | { type: "cancel"; id: number };

/** What the worker answers. */
export type Answer =
  | { type: "progress"; progress: Progress }
  | { type: "started"; description: Description; module: WebAssembly.Module; loading: Loading | null }
  | { type: "stored"; stored: boolean; problem: Problem | null }
  | { type: "refused"; problem: Problem }
  | { type: "classified"; id: number; classification: Classification; milliseconds: number }
  | { type: "failed"; id: number; problem: Problem }
  | { type: "cancelled"; id: number };

/** Texts that are scored before the worker looks for orders again. The engine scores some short ones together. */
const TURN_TEXTS = 8;

interface Job {
  texts: string[];
  options: Options;
  done: Classification | null;
  milliseconds: number;
}

/** Answers orders for as long as the worker lives. Gives the function that takes them. */
export function serve(answer: (answer: Answer) => void, open: Open): (order: Order) => void {
  const jobs = new Map<number, Job>();
  let engine: Engine | null = null;
  let working = false;

  /** Jobs take turns, so that a short one does not wait for the end of a long one. */
  async function work(): Promise<void> {
    if (working || !engine) return;
    working = true;
    for (let next = first(jobs); next; next = first(jobs)) {
      const [id, job] = next;
      jobs.delete(id);
      try {
        await turn(engine, job);
        const { done, texts, milliseconds } = job;
        if (done && done.results.length === texts.length) answer({ type: "classified", id, classification: done, milliseconds });
        else jobs.set(id, job);
      } catch (error) {
        answer({ type: "failed", id, problem: problemOf(error) });
      }
      await ordersTaken();
    }
    working = false;
  }

  function started(started: Engine, module: WebAssembly.Module, loading: Loading | null): void {
    engine = started;
    answer({ type: "started", description: started.description, module, loading });
    void work();
  }

  return (order) => {
    switch (order.type) {
      case "start":
        start(order.source, open, answer, started).catch((error: unknown) => answer({ type: "refused", problem: problemOf(error) }));
        break;
      case "restart":
        Engine.start(order.module).then(
          (engine) => started(engine, order.module, null),
          (error: unknown) => answer({ type: "refused", problem: problemOf(error) }),
        );
        break;
      case "classify":
        jobs.set(order.id, { texts: order.texts, options: order.options, done: null, milliseconds: 0 });
        void work();
        break;
      case "cancel":
        jobs.delete(order.id);
        answer({ type: "cancelled", id: order.id });
    }
  };
}

/** Fetches, verifies, compiles and starts; then keeps the copy. */
async function start(
  source: Source,
  open: Open,
  answer: (answer: Answer) => void,
  started: (engine: Engine, module: WebAssembly.Module, loading: Loading) => void,
): Promise<void> {
  checkSupport();
  const began = performance.now();
  const { content, from } = await obtain(source, open, (progress) => answer({ type: "progress", progress }));
  const obtained = performance.now();
  const module = await compile(coreModule(content));
  const engine = await Engine.start(module);
  started(engine, module, {
    url: source.url,
    sha256: source.sha256,
    bytes: content.length,
    transferred: from === "cache" ? 0 : transferred(source.url),
    from,
    obtainedMs: obtained - began,
    startedMs: performance.now() - obtained,
  });
  try {
    const stored = source.cache && (from === "cache" || (await keep(source.sha256, content)));
    answer({ type: "stored", stored, problem: null });
  } catch (error) {
    answer({ type: "stored", stored: false, problem: problemOf(error) });
  }
}

/** Scores the next texts of a job. */
async function turn(engine: Engine, job: Job): Promise<void> {
  const from = job.done?.results.length ?? 0;
  const began = performance.now();
  const part = await engine.classify(job.texts.slice(from, from + TURN_TEXTS), job.options);
  job.milliseconds += performance.now() - began;
  if (job.done) job.done.results.push(...part.results);
  else job.done = part;
}

function first(jobs: Map<number, Job>): [number, Job] | null {
  for (const job of jobs) return job;
  return null;
}

/** Resolves after the orders that have arrived were taken: a message to oneself comes behind them. */
function ordersTaken(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** Bytes on the wire of the last answer of an address, where the browser tells. */
function transferred(url: string): number | null {
  const entry = performance.getEntriesByName(url).at(-1);
  if (!entry || !("transferSize" in entry)) return null;
  const { transferSize, encodedBodySize } = entry as PerformanceResourceTiming;
  return transferSize || encodedBodySize || null;
}

function problemOf(error: unknown): Problem {
  if (error instanceof ModerationError) return error.problem;
  return { code: "engine", reason: error instanceof Error ? error.message : String(error) };
}
