// Whether the page itself comes without a network, by its service worker.

/** Settles when it is known. The artefacts are kept apart: `classifier.stored`. */
export const pageStored: Promise<boolean> = import.meta.env.PROD ? installed().catch(() => false) : Promise.resolve(false);

/** Rejects where there are no service workers, or none may be installed. */
async function installed(): Promise<boolean> {
  const registration = await navigator.serviceWorker.register(new URL("./service-worker.js", document.baseURI));
  const worker = registration.installing ?? registration.waiting;
  if (registration.active || !worker) return registration.active !== null;
  return new Promise((resolve) => {
    const look = (): void => {
      if (worker.state === "activated" || worker.state === "redundant") resolve(worker.state === "activated");
    };
    worker.addEventListener("statechange", look);
    look();
  });
}
