// The caller's side of a worker.
import type { Description } from "./contract/interface.js";
import { ModerationError, type Problem } from "./errors.js";
import type { Answer, Order } from "./serving.js";
import type { Classified, Classifier, ClassifyOptions, Loading, LoadOptions } from "./types.js";

/** A worker, of a browser or of Node. */
export interface Port {
  post(order: Order): void;
  /** Whether the program waits for the worker: only Node asks. */
  hold?(waiting: boolean): void;
  terminate(): void;
}

/** Starts a worker. `failed` is told when it cannot start, or dies. */
export type Spawn = (answered: (answer: Answer) => void, failed: (reason: string) => void) => Port;

/** How long a cancelled call may keep the worker busy before another is started in its place, which takes as long again. */
const CANCEL_MS_MAX = 50;

interface Call {
  order: Order & { type: "classify" };
  /** What is scored of it. */
  done: Classified | null;
  resolve(classified: Classified): void;
  reject(reason: unknown): void;
  /** Takes the listener off the caller's signal. */
  settle(): void;
}

/** Loads through a worker; `url` is the artefact's absolute address. */
export function open(options: LoadOptions, url: string, spawn: Spawn): Promise<Classifier> {
  const { signal } = options;
  const sha256 = digestOf(options, url);
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const client = new Client(spawn, options, resolve, refuse);
    const aborted = (): void => {
      reject(signal?.reason);
      client.close();
    };
    function refuse(error: ModerationError): void {
      signal?.removeEventListener("abort", aborted);
      reject(error);
    }
    signal?.addEventListener("abort", aborted, { once: true });
    client.ready.finally(() => signal?.removeEventListener("abort", aborted)).catch(() => {});
    client.start({ type: "start", source: { url, sha256, bytes: options.bytes ?? null, cache: options.cache ?? true } });
  });
}

/** The digest that the caller gave, or that the address has. */
function digestOf({ sha256 }: LoadOptions, url: string): string {
  const digest = sha256 ?? /[0-9a-f]{64}/.exec(new URL(url).pathname)?.[0];
  if (digest === undefined || !/^[0-9a-f]{64}$/.test(digest)) {
    const reason = `load needs the artefact's SHA-256, 64 hexadecimal digits in lower case, as \`sha256\` or in the address; it got ${JSON.stringify(sha256)}`;
    throw new ModerationError({ code: "argument", reason });
  }
  return digest;
}

class Client implements Classifier {
  declare description: Description;
  declare loading: Loading;
  readonly stored: Promise<boolean>;
  /** Settles when loading has. */
  readonly ready: Promise<void>;

  /** The worker in service. */
  private port: Port | null = null;
  /** The one that loads, and writes the copy. */
  private first: Port | null = null;
  /** The one that is starting, to take over from a worker in the middle of a cancelled call. */
  private next: Port | null = null;
  private module: WebAssembly.Module | null = null;
  private readonly calls = new Map<number, Call>();
  private lastId = 0;
  /** The call that the worker is in the middle of; 0 between calls. */
  private turn = 0;
  private patience: ReturnType<typeof setTimeout> | undefined;
  private end: ModerationError | null = null;
  private readonly settled: { stored: (stored: boolean) => void; ready: () => void };

  constructor(
    private readonly spawn: Spawn,
    private readonly options: LoadOptions,
    private readonly resolve: (classifier: Classifier) => void,
    private readonly reject: (error: ModerationError) => void,
  ) {
    const settled = {} as Client["settled"];
    this.stored = new Promise((resolve) => (settled.stored = resolve));
    this.ready = new Promise((resolve) => (settled.ready = resolve));
    this.settled = settled;
  }

  start(order: Order): void {
    try {
      this.port = this.first = this.spawned(order);
    } catch (error) {
      this.fail(new ModerationError({ code: "worker", reason: error instanceof Error ? error.message : String(error) }));
    }
  }

  private spawned(order: Order): Port {
    const port: Port = this.spawn(
      (answer) => this.take(answer, port),
      (reason) => this.lose(port, { code: "worker", reason }),
    );
    port.post(order);
    return port;
  }

  classify(texts: readonly string[], options: ClassifyOptions = {}): Promise<Classified> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      signal?.throwIfAborted();
      if (this.end) throw this.end;
      this.check(texts, options);
      const id = (this.lastId += 1);
      const aborted = (): void => {
        this.cancel(id);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", aborted, { once: true });
      const wanted = { spans: options.spans ?? false, words: options.words ?? false };
      const call: Call = {
        order: { type: "classify", id, texts: [...texts], options: options.labels ? { ...wanted, labels: [...options.labels] } : wanted },
        done: null,
        resolve,
        reject,
        settle: () => signal?.removeEventListener("abort", aborted),
      };
      this.calls.set(id, call);
      this.port?.hold?.(true);
      this.port?.post(call.order);
    });
  }

  close(): void {
    this.fail(new ModerationError({ code: "closed" }));
  }

  /** The contract's limits, and types that nothing else checks, before anything is copied to the worker. */
  private check(texts: readonly string[], { labels }: ClassifyOptions): void {
    const { textsMax, batchBytesMax } = this.description.limits;
    if (!Array.isArray(texts) || texts.some((text) => typeof text !== "string")) {
      throw new ModerationError({ code: "argument", reason: "classify takes a list of strings" });
    }
    if (labels !== undefined && (!Array.isArray(labels) || labels.some((label) => typeof label !== "string"))) {
      throw new ModerationError({ code: "argument", reason: "the option labels takes a list of strings" });
    }
    if (texts.length > textsMax) throw new ModerationError({ code: "too-many-texts", given: texts.length, limit: textsMax });
    const given = texts.reduce((sum, text) => sum + bytesOf(text), 0);
    if (given > batchBytesMax) throw new ModerationError({ code: "batch-too-large", given, limit: batchBytesMax });
  }

  /** Takes a call back. A worker in the middle of it hears nothing, so another takes over where it does not end soon. */
  private cancel(id: number): void {
    this.finish(id);
    this.port?.post({ type: "cancel", id });
    if (id === this.turn) this.watch();
  }

  private watch(): void {
    this.patience = setTimeout(() => this.replace(), CANCEL_MS_MAX);
  }

  /** Starts another worker. Until that one has, this one stays: without a network, or without memory, none may start. */
  private replace(): void {
    if (!this.module || this.next) return;
    try {
      this.next = this.spawned({ type: "restart", module: this.module });
      this.next.hold?.(false);
    } catch {
      // as where it fails later: the old one goes on
    }
  }

  /** The other worker has started. It takes over where the old one is still in the middle of a cancelled call; else it is not needed. */
  private takeOver(old: Port, next: Port): void {
    this.next = null;
    if (this.turn === 0 || this.calls.has(this.turn)) return next.terminate();
    this.endTurn();
    this.port = next;
    next.hold?.(this.calls.size > 0);
    for (const { order, done } of this.calls.values()) {
      old.post({ type: "cancel", id: order.id });
      next.post({ ...order, texts: order.texts.slice(done?.results.length ?? 0) });
    }
    if (old === this.first) void this.stored.then(() => old.terminate()); // it may still be writing the copy
    else old.terminate();
  }

  private take(answer: Answer, port: Port): void {
    if (answer.type === "stored") return this.settleStored(answer); // of a worker that was replaced too
    if (answer.type === "refused") return this.lose(port, answer.problem);
    if (this.port && port === this.next) return this.takeOver(this.port, port);
    if (port !== this.port) return;
    switch (answer.type) {
      case "progress":
        this.options.onProgress?.(answer.progress);
        break;
      case "started":
        this.module = answer.module;
        this.description = answer.description;
        if (answer.loading) this.loading = answer.loading;
        this.settled.ready();
        this.resolve(this);
        break;
      case "turn":
        this.turn = answer.id;
        if (!this.calls.has(answer.id)) this.watch(); // it was cancelled meanwhile
        break;
      case "scored":
        this.endTurn();
        this.add(answer);
        break;
      case "failed":
        this.endTurn();
        this.finish(answer.id)?.reject(new ModerationError(answer.problem));
    }
  }

  private endTurn(): void {
    this.turn = 0;
    clearTimeout(this.patience);
  }

  /** Adds what a turn gave, and answers a call that is complete. */
  private add({ id, classification, milliseconds }: Answer & { type: "scored" }): void {
    const call = this.calls.get(id);
    if (!call) return;
    const { done, order } = call;
    const results = [...(done?.results ?? []), ...classification.results];
    call.done = { ...classification, results, milliseconds: (done?.milliseconds ?? 0) + milliseconds };
    if (results.length === order.texts.length) this.finish(id)?.resolve(call.done);
  }

  private settleStored({ stored, problem }: Answer & { type: "stored" }): void {
    if (this.end) return;
    if (problem) this.options.onWarning?.(new ModerationError(problem));
    this.settled.stored(stored);
    if (this.calls.size === 0) this.port?.hold?.(false);
  }

  private finish(id: number): Call | undefined {
    const call = this.calls.get(id);
    this.calls.delete(id);
    call?.settle();
    if (this.calls.size === 0) this.port?.hold?.(false);
    return call;
  }

  /** A worker did not start, or died. Only without the one in service nothing goes on. */
  private lose(port: Port, problem: Problem): void {
    if (port === this.port) return this.fail(new ModerationError(problem));
    port.terminate();
    if (port === this.next) this.next = null;
    if (port === this.first) this.settled.stored(false);
  }

  /** Ends everything, once. */
  private fail(error: ModerationError): void {
    if (this.end) return;
    this.end = error;
    for (const port of [this.port, this.next, this.first]) port?.terminate();
    this.port = this.next = this.first = null;
    clearTimeout(this.patience);
    for (const call of this.calls.values()) {
      call.settle();
      call.reject(error);
    }
    this.calls.clear();
    this.settled.stored(false);
    this.settled.ready();
    this.reject(error);
  }
}

/** Bytes of a string in UTF-8; half a surrogate pair becomes U+FFFD, which has three. */
export function bytesOf(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    bytes += unit < 0x800 ? 1 : 2;
    const isPair = unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00;
    if (isPair) i += 1; // four bytes for two units: 2 counted with the length, 2 added above
  }
  return bytes;
}
