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
  /** The worker hears nothing until it has scored the next texts of this call: `scored` or `failed` follows. */
  | { type: "turn"; id: number }
  /** What the turn gave. A call is over when all of its texts are scored. */
  | { type: "scored"; id: number; classification: Classification; milliseconds: number }
  | { type: "failed"; id: number; problem: Problem };

/** Texts that are scored before the worker looks for orders again. The engine scores some short ones together. */
const TURN_TEXTS = 8;

/** What is left of a call. */
interface Job {
  texts: string[];
  options: Options;
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
      const [id, { texts, options }] = next;
      jobs.delete(id);
      answer({ type: "turn", id });
      const began = performance.now();
      try {
        const classification = await engine.classify(texts.slice(0, TURN_TEXTS), options);
        answer({ type: "scored", id, classification, milliseconds: performance.now() - began });
        if (texts.length > TURN_TEXTS) jobs.set(id, { texts: texts.slice(TURN_TEXTS), options });
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
        jobs.set(order.id, { texts: order.texts, options: order.options });
        void work();
        break;
      case "cancel":
        jobs.delete(order.id);
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
  const artefact = await obtain(source, open, (progress) => answer({ type: "progress", progress }));
  const { content, from } = artefact;
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
    const stored = source.cache && (await keep(source.sha256, artefact));
    answer({ type: "stored", stored, problem: null });
  } catch (error) {
    answer({ type: "stored", stored: false, problem: problemOf(error) });
  }
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
