// A room of the server that the page came from, by WebSocket; see ROOM.md.
import { addMessage } from "../left";
import type { FromPage, Person, Room, RoomEvent, ToPage } from "./protocol";

interface Options {
  room: string;
  you: Person;
  key: string | null;
  onEvent(event: RoomEvent): void;
}

const PROTOCOL = "palisade-room-1";
const RETRY_MS_MAX = 30_000;
/** The code after which another try would end alike. */
const REFUSED = 1008;
/** A connection that ended without a word (RFC 6455, section 7.4.1). */
const ABNORMAL = 1006;

function say(socket: WebSocket, message: FromPage): void {
  socket.send(JSON.stringify(message));
  addMessage();
}

/** Joins, and joins again after the connection was lost; what was not answered is sent again. */
export function joinServer({ room, you, key, onEvent }: Options): Room {
  const address = new URL(`v1/rooms/${room}`, document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const unanswered = new Map<string, FromPage>();
  let socket: WebSocket | null = null;
  let joined = false;
  let everJoined = false;
  /** Why the server did not let this page in. */
  let refusal: { code: string; detail: string } | null = null;
  let failures = 0;
  let retry: ReturnType<typeof setTimeout> | undefined;

  const post = (message: FromPage): void => {
    if (joined && socket) say(socket, message);
  };
  const ended = (detail: string): void => onEvent({ type: "connection", state: "ended", detail, code: refusal?.code ?? null });

  function connect(): void {
    joined = false;
    refusal = null;
    let mine: WebSocket;
    try {
      mine = socket = new WebSocket(address, PROTOCOL);
    } catch (error) {
      return ended(error instanceof Error ? error.message : String(error)); // an address that a page such as this may not use
    }
    mine.onopen = () => say(mine, { type: "join", ...you, key });
    mine.onmessage = ({ data }) => mine === socket && take(data);
    mine.onclose = ({ code, reason }) => mine === socket && lose(code, reason);
    // A socket that the page's policy forbids has this event alone, in Chromium.
    mine.onerror = () => mine === socket && lose(ABNORMAL, "");
  }

  function lose(code: number, reason: string): void {
    socket = null;
    joined = false;
    const why = refusal?.detail ?? reason;
    if (code === REFUSED) return ended(why || "the server refused the connection");
    if (!everJoined && failures >= 1) return ended(why || `${address.host} has no rooms, or cannot be reached`);
    const wait = Math.min(RETRY_MS_MAX, 1_000 * 2 ** failures);
    failures += 1;
    onEvent({ type: "connection", state: "lost", detail: `${why ? `${why}; ` : ""}trying again in ${wait / 1_000} s`, code: null });
    retry = setTimeout(connect, wait);
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
      onEvent({ type: "connection", state: "open", detail: "", code: null });
      for (const message of unanswered.values()) post(message);
    }
    if (event.type === "message") unanswered.delete(event.message.id);
    if (event.type === "error") {
      if (event.id) unanswered.delete(event.id);
      if (!joined) {
        refusal ??= event;
        return onEvent({ type: "connection", state: "lost", detail: event.detail, code: null });
      }
    }
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
      const last = socket;
      clearTimeout(retry);
      post({ type: "leave" });
      socket = null;
      last?.close();
    },
  };
}
