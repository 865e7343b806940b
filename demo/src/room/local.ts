// A room of this browser's tabs. What the server would do, the tab that asks does: it judges, keeps and tells the others.
import type { Release, Threshold } from "@palisade/moderation";
import { isShared, local } from "../storage";
import { visible, type Action, type Judgement, type Message, type Moderation, type Person, type Room, type RoomEvent, type State } from "./protocol";

interface Options {
  room: string;
  you: Person;
  release: Release;
  policy: Threshold[];
  judge(text: string): Promise<Judgement>;
  onEvent(event: RoomEvent): void;
}

/** What tabs tell each other. */
type Note = { type: "changed"; message: Message } | { type: "here"; person: Person; answer: boolean } | { type: "gone"; client: string };

const MESSAGES_MAX = 1_000;
const HISTORY_MAX = 200;
const PRESENCE_MS = 5_000;
const STATES: Record<Judgement["verdict"], State> = { allow: "shown", review: "held", block: "blocked" };

/** One judgement of a moderator, as the server's feedback store has it. */
export interface Feedback {
  id: string;
  at: string;
  text: string;
  scores: { label: string; score: number }[];
  community_id: string;
  client_token: string;
}

const FEEDBACK = "palisade-feedback";

/** What moderators of local rooms have said. */
export function feedback(): Feedback[] {
  return read<Feedback>(FEEDBACK);
}

/** Joins; the history comes as an event. */
export function joinLocal(options: Options): Room {
  const { room, onEvent } = options;
  // What the others are told is a part of the id, as a server tells something that it makes of it.
  const you: Person = { ...options.you, client: options.you.client.slice(0, 8) };
  const key = `palisade-room-${room}`;
  const channel = new BroadcastChannel(key);
  const people = new Map<string, { person: Person; seen: number }>();
  const tell = (note: Note): void => channel.postMessage(note);
  const show = (message: Message): void => {
    const seen = visible(message, you);
    if (seen) onEvent({ type: "message", message: seen });
  };
  const everybody = (): Person[] => [you, ...[...people.values()].map(({ person }) => person)];
  const refused = (code: string, detail: string, id: string): void => onEvent({ type: "error", code, detail, id });

  const put = (message: Message): void => {
    const others = read<Message>(key).filter(({ id }) => id !== message.id);
    write(key, [...others, message].sort((a, b) => a.sequence - b.sequence).slice(-MESSAGES_MAX));
  };

  channel.onmessage = ({ data: note }: MessageEvent<Note>) => {
    if (note.type === "changed") {
      if (!isShared) put(note.message);
      return show(note.message);
    }
    const known = people.size;
    if (note.type === "gone") people.delete(note.client);
    else people.set(note.person.client, { person: note.person, seen: Date.now() });
    if (note.type === "here" && note.answer) tell({ type: "here", person: you, answer: false });
    if (people.size !== known) onEvent({ type: "people", people: everybody() });
  };
  const beat = setInterval(() => {
    tell({ type: "here", person: you, answer: false });
    const gone = [...people].filter(([, { seen }]) => Date.now() - seen > 3 * PRESENCE_MS);
    for (const [client] of gone) people.delete(client);
    if (gone.length > 0) onEvent({ type: "people", people: everybody() });
  }, PRESENCE_MS);
  const leave = (): void => tell({ type: "gone", client: you.client });
  addEventListener("pagehide", leave);

  /** Changes what is kept, one tab after the other. */
  function change(id: string, update: (messages: Message[]) => Message | Promise<Message>): void {
    const work = async (): Promise<void> => {
      const messages = read<Message>(key);
      const before = messages.find((message) => message.id === id);
      const message = await update(messages);
      if (before && before === message) return show(message);
      put(message);
      tell({ type: "changed", message });
      show(message);
    };
    locked(key, work).catch((error: Error) => refused("invalid", error.message, id));
  }

  queueMicrotask(() => {
    const history = read<Message>(key).flatMap((message) => visible(message, you) ?? []);
    onEvent({ type: "connection", state: "open", detail: "", code: null });
    onEvent({ type: "joined", room, you, people: everybody(), history: history.slice(-HISTORY_MAX), release: options.release, policy: options.policy });
    tell({ type: "here", person: you, answer: true });
  });

  return {
    kind: "local",
    send({ id, text, nudged, browser }) {
      change(id, async (messages) => {
        const known = messages.find((message) => message.id === id);
        if (known) return known;
        const server = await options.judge(text);
        const sequence = (messages.at(-1)?.sequence ?? 0) + 1;
        const author = { client: you.client, name: you.name };
        return { id, sequence, at: new Date().toISOString(), author, text, state: STATES[server.verdict], nudged, browser, server, moderation: null };
      });
    },
    moderate(id, action) {
      change(id, async (messages) => {
        const message = messages.find((message) => message.id === id);
        if (!message) throw new Error("this message is not in the room any more");
        if (message.moderation?.action === action) return message;
        const moderation: Moderation = { action, by: you.name, at: new Date().toISOString(), feedback: await keep(room, message, action) };
        return { ...message, state: action === "approve" ? "shown" : "removed", moderation, wasShown: message.wasShown || message.state === "shown" };
      });
    },
    close() {
      leave();
      clearInterval(beat);
      removeEventListener("pagehide", leave);
      channel.close();
    },
  };
}

/** Keeps a moderator's judgement, each once. */
async function keep(room: string, message: Message, action: Action): Promise<Moderation["feedback"]> {
  const labels = message.server?.fired.map(({ label }) => label) ?? [];
  const score = action === "approve" ? 0 : 1;
  const said = {
    text: message.text ?? "",
    scores: (labels.length > 0 ? labels : ["TOXICITY"]).map((label) => ({ label, score })),
    community_id: `room:${room}`,
    client_token: message.id,
  };
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(said))));
  const id = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return locked(FEEDBACK, async () => {
    const all = feedback();
    if (all.some((other) => other.id === id)) return "repeated" as const;
    write(FEEDBACK, [...all, { id, at: new Date().toISOString(), ...said }]);
    return "kept" as const;
  }).catch(() => "failed" as const);
}

async function locked<T>(name: string, work: () => Promise<T>): Promise<T> {
  // Where storage is switched off, tabs share nothing and locks are refused; a page that is not secure has none.
  return isShared && navigator.locks ? ((await navigator.locks.request(name, work)) as T) : work();
}

function read<T>(key: string): T[] {
  try {
    const list: unknown = JSON.parse(local.getItem(key) ?? "[]");
    return Array.isArray(list) ? (list as T[]) : [];
  } catch {
    return [];
  }
}

function write(key: string, list: unknown[]): void {
  try {
    local.setItem(key, JSON.stringify(list));
  } catch {
    throw new Error("the browser has no room left to keep the messages");
  }
}
