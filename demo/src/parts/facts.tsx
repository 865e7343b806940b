import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Model } from "../model";
import { megabytes, milliseconds } from "../words";

/** What runs here, where it came from, and that nothing leaves. */
export function Facts({ model }: { model: Model }) {
  const requests = useRequests(model.state === "ready" ? model.classifier : null);
  const online = useOnline();
  const offlineReady = useOfflinePage() && model.state === "ready" && model.stored === true;
  if (model.state !== "ready") return null;
  const { description, loading } = model.classifier;
  const { release } = description;
  return (
    <section class="facts" aria-label="What runs here">
      <Fact name="Release" detail={<Digest value={release.digest} what="manifest" />}>
        {release.name} {release.version}
      </Fact>
      <Fact name="Artefact" detail={<Digest value={loading.sha256} what="file" />}>
        {loading.transferred && loading.transferred < loading.bytes ? `${megabytes(loading.transferred)}, unpacked ${megabytes(loading.bytes)}` : megabytes(loading.bytes)}
      </Fact>
      <Fact name="Started in" detail={loading.from === "cache" ? "from this browser's copy, verified" : "fetched, verified"}>
        {milliseconds(loading.obtainedMs + loading.startedMs)}
      </Fact>
      <Fact
        name="Left this page"
        detail={
          !online
            ? "You are offline, and it works"
            : offlineReady
              ? "Try it: switch off your network, reload"
              : model.stored === false
                ? "No copy is kept for offline use"
                : "Preparing for offline use…"
        }
      >
        <span data-requests={requests}>{requests === 0 ? "Nothing" : `${requests} requests`}</span>
        <span class="hidden"> since the model was loaded</span>
      </Fact>
    </section>
  );
}

function Fact({ name, children, detail }: { name: string; children: ComponentChildren; detail: ComponentChildren }) {
  return (
    <div class="fact">
      <h3>{name}</h3>
      <p>{children}</p>
      <p class="detail">{detail}</p>
    </div>
  );
}

function Digest({ value, what }: { value: string; what: string }) {
  const [copied, setCopied] = useState(false);
  const copy = (): void => void navigator.clipboard?.writeText(value).then(() => setCopied(true));
  return (
    <button type="button" class="digest" onClick={copy} onBlur={() => setCopied(false)} title={`Copy ${value}`}>
      {copied ? "copied" : `sha256 ${value.slice(0, 12)}…`}
      <span class="hidden"> of the {what}, copy</span>
    </button>
  );
}

/** Requests that the page made since the model was there, as the browser counts them. Its own files do not count, nor do their copies. */
function useRequests(since: unknown): number {
  const [requests, setRequests] = useState(0);
  useEffect(() => {
    setRequests(0);
    if (!since) return;
    const from = performance.now();
    const observer = new PerformanceObserver((list) => {
      const made = (list.getEntries() as PerformanceResourceTiming[]).filter(({ startTime, transferSize }) => startTime > from && transferSize > 0);
      setRequests((requests) => requests + made.length);
    });
    observer.observe({ type: "resource" });
    return () => observer.disconnect();
  }, [since]);
  return requests;
}

function useOnline(): boolean {
  const [online, setOnline] = useState(navigator.onLine);
  useEffect(() => {
    const changed = (): void => setOnline(navigator.onLine);
    addEventListener("online", changed);
    addEventListener("offline", changed);
    return () => {
      removeEventListener("online", changed);
      removeEventListener("offline", changed);
    };
  }, []);
  return online;
}

/** Whether the page itself would come without a network. */
function useOfflinePage(): boolean {
  const [ready, setReady] = useState(false);
  useEffect(() => {
    void navigator.serviceWorker?.ready.then(() => setReady(true));
  }, []);
  return ready;
}
