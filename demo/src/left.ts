// What has left this page since it was opened: what the page and its worker asked the network for beside the site's own files, as the
// browser lists it, and what was said over WebSockets, which it does not list.
import { useEffect, useState } from "preact/hooks";

interface Left {
  requests: number;
  messages: number;
}

let left: Left = { requests: 0, messages: 0 };
const listeners = new Set<(left: Left) => void>();
const base = new URL("./", document.baseURI).href;
/** Files that the build has named, asked for without a query: nothing of a reader's is in that. */
const OWN = /^(assets\/[^/?]+|artefacts\/[^/?]+|service-worker\.js)$/;

function change(next: Left): void {
  left = next;
  for (const listener of listeners) listener(left);
}

/** Counts requests by their addresses, but for the site's own files. */
export function addRequests(addresses: string[]): void {
  const foreign = addresses.filter((address) => /^https?:/.test(address) && !(address.startsWith(base) && OWN.test(address.slice(base.length))));
  if (foreign.length > 0) change({ ...left, requests: left.requests + foreign.length });
}

/** Counts one message over a WebSocket. */
export function addMessage(): void {
  change({ ...left, messages: left.messages + 1 });
}

/** The counts as they are, and again when they change. */
export function useLeft(): Left {
  const [shown, show] = useState(left);
  useEffect(() => {
    listeners.add(show);
    show(left);
    return () => void listeners.delete(show);
  }, []);
  return shown;
}

new PerformanceObserver((list) => addRequests(list.getEntries().map(({ name }) => name))).observe({ type: "resource", buffered: true });
