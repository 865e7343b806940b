// A room of a server, by WebSocket; see ROOM.md.
import type { FromPage, Person, Room, RoomEvent, ToPage } from "./protocol";

interface Options {
  /** Address of the server, http(s). */
  server: string;
  room: string;
  you: Person;
  key: string | null;
  onEvent(event: RoomEvent): void;
}

const RETRY_MS_MAX = 30_000;
/** Codes after which another try would end alike. */
const REFUSED = 1008;

/** Joins, and joins again after the connection was lost; what was not answered is sent again. */
export function joinServer({ server, room, you, key, onEvent }: Options): Room {
  const address = new URL(`/v1/rooms/${room}`, server);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const unanswered = new Map<string, FromPage>();
  let socket: WebSocket | null = null;
  let joined = false;
  let everJoined = false;
  let failures = 0;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let closed = false;

  const post = (message: FromPage): void => {
    if (joined) socket?.send(JSON.stringify(message));
  };

  function connect(): void {
    joined = false;
    const mine = (socket = new WebSocket(address, "palisade-room-1"));
    mine.onopen = () => mine.send(JSON.stringify({ type: "join", ...you, key } satisfies FromPage));
    mine.onmessage = ({ data }) => take(data);
    mine.onclose = ({ code, reason }) => {
      if (closed || mine !== socket) return;
      joined = false;
      if (code === REFUSED || (!everJoined && failures >= 1)) {
        const detail = reason || (code === REFUSED ? "the server refused the connection" : `${address.host} has no rooms, or cannot be reached`);
        return onEvent({ type: "connection", state: "ended", detail });
      }
      const wait = Math.min(RETRY_MS_MAX, 1_000 * 2 ** failures);
      failures += 1;
      onEvent({ type: "connection", state: "lost", detail: `trying again in ${wait / 1_000} s` });
      retry = setTimeout(connect, wait);
    };
  }

  function take(data: unknown): void {
    let event: ToPage;
    try {
      event = JSON.parse(String(data)) as ToPage;
    } catch {
      return; // not of this protocol
    }
    if (event.type === "joined") {
      joined = everJoined = true;
      failures = 0;
      onEvent({ type: "connection", state: "open", detail: "" });
      for (const message of unanswered.values()) post(message);
    }
    if (event.type === "message") unanswered.delete(event.message.id);
    if (event.type === "error" && event.id) unanswered.delete(event.id);
    onEvent(event);
  }

  connect();
  return {
    kind: "server",
    send(message) {
      const order: FromPage = { type: "message", ...message };
      unanswered.set(message.id, order);
      post(order);
    },
    moderate(id, action) {
      const order: FromPage = { type: "moderate", id, action };
      unanswered.set(id, order);
      post(order);
    },
    close() {
      closed = true;
      clearTimeout(retry);
      post({ type: "leave" });
      socket?.close();
    },
  };
}
