import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useLeft } from "../left";
import type { Model } from "../model";
import { pageStored } from "../offline";
import { count, megabytes, milliseconds } from "../words";

/** What runs here, where it came from, and that nothing leaves. */
export function Facts({ model }: { model: Model }) {
  const { requests, messages } = useLeft();
  const online = useOnline();
  const isPageStored = usePageStored();
  if (model.state !== "ready") return null;
  const { description, loading } = model.classifier;
  const { release } = description;
  const copies = [isPageStored, model.stored];
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
            : copies.includes(false)
              ? "No copy is kept for offline use"
              : copies.includes(null)
                ? "Preparing for offline use…"
                : "Try it: switch off your network, reload"
        }
      >
        <span data-requests={requests} data-messages={messages}>
          {[requests > 0 && count(requests, "request"), messages > 0 && `${count(messages, "message")} to rooms`].filter(Boolean).join(", ") || "Nothing"}
        </span>
        <span class="hidden"> since it was opened</span>
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

/** Whether the page itself would come without a network; null while that is not known. */
function usePageStored(): boolean | null {
  const [isStored, setStored] = useState<boolean | null>(null);
  useEffect(() => void pageStored.then(setStored), []);
  return isStored;
}
