// The worker of a page.
import { serve, type Answer, type Order } from "./serving.js";

const scope = globalThis as unknown as { postMessage(answer: Answer): void; onmessage: (event: MessageEvent<Order>) => void };
const take = serve(
  (answer) => scope.postMessage(answer),
  (url) => fetch(url, { credentials: "same-origin" }),
);
scope.onmessage = ({ data }) => take(data);
