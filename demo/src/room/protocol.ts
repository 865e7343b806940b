// The messages of ROOM.md.
import type { Fired, Release, Threshold, Verdict } from "@palisade/moderation";

export interface Judgement {
  verdict: Verdict;
  fired: Fired[];
  scores: Record<string, number>;
  release: Release;
  /** What raised a server's verdict beside the labels; absent where nothing did. */
  reasons?: Reason[];
}

export type Reason = "unsupported-language" | "truncated";

export type Role = "member" | "moderator";
export type Action = "approve" | "remove";
export type State = "shown" | "held" | "blocked" | "removed";

/** Somebody in a room. */
export interface Person {
  /** To a room: the tab's own id. From a room: what the room calls the tab, which is all that others know of it. */
  client: string;
  name: string;
  role: Role;
}

export interface Moderation {
  action: Action;
  by: string;
  at: string;
  feedback: "kept" | "repeated" | "failed";
}

export interface Message {
  id: string;
  sequence: number;
  at: string;
  author: { client: string; name: string };
  /** Null where a removed message is none of this role's business any more. */
  text: string | null;
  state: State;
  nudged: boolean;
  /** What its author's page thought of it: for moderators alone. */
  browser?: Judgement | null;
  server: Judgement | null;
  moderation: Moderation | null;
  /** Whether everybody saw it once; the local room keeps that, a server does not tell. */
  wasShown?: boolean;
}

export type FromPage =
  | { type: "join"; client: string; name: string; role: Role; key: string | null }
  | { type: "message"; id: string; text: string; nudged: boolean; browser: Judgement | null }
  | { type: "moderate"; id: string; action: Action }
  | { type: "leave" };

export type ToPage =
  | { type: "joined"; room: string; you: Person; people: Person[]; history: Message[]; release: Release; policy: Threshold[] }
  | { type: "people"; people: Person[] }
  | { type: "message"; message: Message }
  | { type: "error"; code: string; detail: string; id: string | null };

/** What a room tells the page: the protocol's messages, and how the connection does, with the code of the refusal that ended it. */
export type RoomEvent = ToPage | { type: "connection"; state: "open" | "lost" | "ended"; detail: string; code: string | null };

/** A room, wherever it is. */
export interface Room {
  /** Who else judges: this browser for the tabs, or a server. */
  readonly kind: "local" | "server";
  send(message: { id: string; text: string; nudged: boolean; browser: Judgement | null }): void;
  moderate(id: string, action: Action): void;
  close(): void;
}

export const TEXT_BYTES_MAX = 4_000;
export const NAME_MAX = 40;

/** What somebody may see of a message; null for nothing. */
export function visible(message: Message, to: { client: string; role: Role }): Message | null {
  if (to.role === "moderator") return message;
  if (message.state === "shown") return { ...message, browser: null };
  if (message.state === "removed") return message.server?.verdict === "allow" || message.wasShown || message.author.client === to.client ? { ...message, text: null, browser: null, server: null } : null;
  return message.author.client === to.client ? { ...message, browser: null } : null;
}
