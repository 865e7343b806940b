// The page without a network. The artefacts are not here: `@palisade/moderation` keeps them by digest.

/** What the build writes in: files of the site, and a digest of all of them. */
declare const __FILES__: string[];
declare const __VERSION__: string;

interface LifeEvent extends Event {
  waitUntil(done: Promise<unknown>): void;
}
interface FetchEvent extends LifeEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}
interface Scope {
  clients: { claim(): Promise<void> };
  addEventListener(type: "install" | "activate", listener: (event: LifeEvent) => void): void;
  addEventListener(type: "fetch", listener: (event: FetchEvent) => void): void;
}
const scope = globalThis as unknown as Scope;

const PREFIX = "palisade-site-";
const CACHE = PREFIX + __VERSION__;
/** Longest wait for a page from the network where there is a copy. */
const NETWORK_MS_MAX = 3_000;
const page = new URL("./", location.href).href;
const assets = new URL("./assets/", location.href).href;
const files = __FILES__.map((file) => new URL(file, location.href).href);

scope.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(files.map((file) => new Request(file, { cache: "reload" })))));
});

// A new version waits until the last window of the old one is closed: until then that may ask for files that the server has no more.

scope.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => names.filter((name) => name.startsWith(PREFIX) && name !== CACHE));
  event.waitUntil(old.then((names) => Promise.all(names.map((name) => caches.delete(name)))).then(() => scope.clients.claim()));
});

scope.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = request.url.split(/[?#]/)[0] ?? "";
  if (request.method !== "GET") return;
  if (request.mode === "navigate" && address === page) event.respondWith(fresh(request));
  else if (address.startsWith(assets)) event.respondWith(kept(address, request));
});

/** The page as it is now, or the copy where the network does not answer. */
async function fresh(request: Request): Promise<Response> {
  const limit = AbortSignal.timeout(NETWORK_MS_MAX);
  try {
    const response = await fetch(request, { signal: limit });
    if (response.ok) return response;
  } catch {
    // no network, or a slow one
  }
  return (await caches.match(page, { cacheName: CACHE })) ?? fetch(request);
}

/** A copy, of whatever version: the files' names change with their content. */
async function kept(address: string, request: Request): Promise<Response> {
  return (await caches.match(address)) ?? fetch(request);
}

export {};
