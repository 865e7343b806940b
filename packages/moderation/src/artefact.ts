// From an address to verified bytes: the cache by digest, then the network.
import { ModerationError } from "./errors.js";
import type { Progress } from "./types.js";

/** What to fetch. */
export interface Source {
  /** Absolute address. */
  url: string;
  /** SHA-256 of the file in lower-case hexadecimal. */
  sha256: string;
  /** Bytes of the file; null where the caller does not know. */
  bytes: number | null;
  /** Whether to keep a copy, and to look for one first. */
  cache: boolean;
}

/** A verified artefact. */
export interface Artefact {
  content: Uint8Array<ArrayBuffer>;
  from: "cache" | "network";
}

/** How an address is opened: `fetch`, or what reads files under Node. */
export type Open = (url: string) => Promise<Response>;

/** Largest file that is read, whatever the server says. */
const BYTES_MAX = 256 * 1024 * 1024;
const CACHE = "palisade-artefacts";
/** Copies that are kept, of those used last: a site may offer two releases. */
const COPIES_MAX = 2;

/** Gives the artefact, verified, from the cache or else from the network. */
export async function obtain(source: Source, open: Open, onProgress: (progress: Progress) => void): Promise<Artefact> {
  if (!globalThis.crypto?.subtle) throw new ModerationError({ code: "insecure" });
  if (source.cache) {
    const content = await cached(source.sha256);
    if (content && (await digest(content)) === source.sha256) {
      onProgress({ loaded: content.length, total: content.length, from: "cache" });
      return { content, from: "cache" };
    }
  }
  const content = await download(source, open, onProgress);
  const actual = await digest(content);
  if (actual !== source.sha256) {
    throw new ModerationError({ code: "digest", url: source.url, expected: source.sha256, actual, received: content.length });
  }
  return { content, from: "network" };
}

async function download(source: Source, open: Open, onProgress: (progress: Progress) => void) {
  const { url } = source;
  const response = await open(url).catch(() => {
    throw new ModerationError({ code: "network", url, received: null });
  });
  if (response.status !== 200 || !response.body) {
    await response.body?.cancel();
    throw new ModerationError({ code: "http", url, status: response.status });
  }
  // The length of a compressed answer is that of the compressed bytes, which nobody sees here.
  const plain = (response.headers.get("content-encoding") ?? "identity") === "identity";
  const told = plain ? Number(response.headers.get("content-length") ?? Number.NaN) : Number.NaN;
  const total = source.bytes ?? (Number.isSafeInteger(told) && told > 0 ? told : null);
  const limit = source.bytes ?? BYTES_MAX;

  const chunks: Uint8Array[] = [];
  let loaded = 0;
  onProgress({ loaded, total, from: "network" });
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new ModerationError({ code: "network", url, received: loaded });
    });
    if (done) break;
    chunks.push(value);
    loaded += value.length;
    if (loaded > limit) {
      await reader.cancel();
      throw new ModerationError({ code: "length", url, expected: limit, received: loaded });
    }
    onProgress({ loaded, total, from: "network" });
  }
  if (source.bytes !== null && loaded < source.bytes) {
    throw new ModerationError({ code: "length", url, expected: source.bytes, received: loaded });
  }
  return joined(chunks, loaded);
}

function joined(chunks: Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const content = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    content.set(chunk, at);
    at += chunk.length;
  }
  return content;
}

async function digest(content: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The cache's name of an artefact: its digest, wherever it came from. */
function key(name: string): string {
  return new URL(`/${CACHE}/${name}`, location.origin).href;
}

async function cached(sha256: string): Promise<Uint8Array<ArrayBuffer> | null> {
  if (typeof caches === "undefined") return null;
  try {
    const response = await (await caches.open(CACHE)).match(key(sha256));
    return response ? new Uint8Array(await response.arrayBuffer()) : null;
  } catch {
    return null; // storage that is switched off, or broken: as if nothing were there
  }
}

/** Keeps a verified artefact, and of the others those used last. False where this place has no cache; throws `quota` where there is no room. */
export async function keep(sha256: string, { content, from }: Artefact): Promise<boolean> {
  if (typeof caches === "undefined") return false;
  try {
    const cache = await caches.open(CACHE);
    if (from === "network") await put(cache, key(sha256), content);
    await prune(cache, key(sha256)).catch(() => {}); // the copy is there all the same
    return true;
  } catch (error) {
    throw new ModerationError({ code: "quota", reason: error instanceof Error ? error.message : String(error) });
  }
}

/** Writes a copy. Where there is no room, the others make some. */
async function put(cache: Cache, copy: string, content: Uint8Array<ArrayBuffer>): Promise<void> {
  const headers = { "content-type": "application/wasm", "content-length": String(content.length) };
  const written = (): Promise<void> => cache.put(copy, new Response(content, { headers }));
  try {
    await written();
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "QuotaExceededError")) throw error;
    await Promise.all((await cache.keys()).map((other) => cache.delete(other)));
    await written();
  }
}

/** Notes that a copy was used just now, and drops all but those used last. */
async function prune(cache: Cache, copy: string): Promise<void> {
  const note = key("used");
  const noted = (await (await cache.match(note))?.text())?.split(" ") ?? [];
  const copies = (await cache.keys()).map(({ url }) => url).filter((url) => url !== note);
  const used = [copy, ...noted, ...copies].filter((url, at, all) => copies.includes(url) && all.indexOf(url) === at);
  await cache.put(note, new Response(used.slice(0, COPIES_MAX).join(" ")));
  await Promise.all(used.slice(COPIES_MAX).map((url) => cache.delete(url)));
}
