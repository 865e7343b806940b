// The caller's side of a worker.
import type { Description } from "./contract/interface.js";
import { ModerationError } from "./errors.js";
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

/** How long a cancelled call may keep the worker busy before the worker is replaced. */
const CANCEL_MS_MAX = 100;

interface Call {
  order: Order & { type: "classify" };
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

  private port: Port | null = null;
  private module: WebAssembly.Module | null = null;
  private readonly calls = new Map<number, Call>();
  /** Cancelled calls of which the worker has not heard yet. */
  private readonly cancelled = new Map<number, ReturnType<typeof setTimeout>>();
  private lastId = 0;
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
      const port: Port = this.spawn(
        (answer) => port === this.port && this.take(answer),
        (reason) => port === this.port && this.fail(new ModerationError({ code: "worker", reason })),
      );
      this.port = port;
      port.post(order);
    } catch (error) {
      this.fail(new ModerationError({ code: "worker", reason: error instanceof Error ? error.message : String(error) }));
    }
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

  /** Takes a call back. A worker in the middle of it hears nothing, so it is replaced where it does not answer soon. */
  private cancel(id: number): void {
    this.finish(id);
    this.port?.post({ type: "cancel", id });
    this.cancelled.set(
      id,
      setTimeout(() => this.replace(), CANCEL_MS_MAX),
    );
  }

  private replace(): void {
    if (!this.module || this.end) return;
    this.port?.terminate();
    this.forgetCancelled();
    this.start({ type: "restart", module: this.module });
    for (const { order } of this.calls.values()) this.port?.post(order);
  }

  private forgetCancelled(): void {
    for (const timer of this.cancelled.values()) clearTimeout(timer);
    this.cancelled.clear();
  }

  private take(answer: Answer): void {
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
      case "stored":
        if (answer.problem) this.options.onWarning?.(new ModerationError(answer.problem));
        this.settled.stored(answer.stored);
        if (this.calls.size === 0) this.port?.hold?.(false);
        break;
      case "refused":
        this.fail(new ModerationError(answer.problem));
        break;
      case "classified":
        this.finish(answer.id)?.resolve({ ...answer.classification, milliseconds: answer.milliseconds });
        break;
      case "failed":
        this.finish(answer.id)?.reject(new ModerationError(answer.problem));
        break;
      case "cancelled":
        clearTimeout(this.cancelled.get(answer.id));
        this.cancelled.delete(answer.id);
    }
  }

  private finish(id: number): Call | undefined {
    const call = this.calls.get(id);
    this.calls.delete(id);
    call?.settle();
    if (this.calls.size === 0) this.port?.hold?.(false);
    return call;
  }

  /** Ends everything, once. */
  private fail(error: ModerationError): void {
    if (this.end) return;
    this.end = error;
    this.port?.terminate();
    this.port = null;
    this.forgetCancelled();
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
