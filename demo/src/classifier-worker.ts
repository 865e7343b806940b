// The classifier's worker, which also tells the page what it asks the network for: the page's own list has nothing of that.
import "@palisade/moderation/worker.js";

/** What this worker says beside the classifier's answers. */
export interface Asked {
  asked: string[];
}

const tell = (asked: string[]): void => (globalThis as unknown as { postMessage(asked: Asked): void }).postMessage({ asked });
new PerformanceObserver((list) => tell(list.getEntries().map(({ name }) => name))).observe({ type: "resource", buffered: true });
