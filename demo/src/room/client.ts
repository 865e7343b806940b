// The id by which this tab is known to a room. The room alone hears it: whoever has it speaks as this tab.
import { remember, session } from "../storage";

/** Between tabs: whether another one has this id, and that it has. */
type Note = { ask: string; tab: string } | { takenFor: string };

const KEY = "palisade-client";
const tab = uuid();
let client = session.getItem(KEY) ?? uuid();
remember(session, KEY, client);
if (typeof BroadcastChannel !== "undefined") askTabs();

/** The same for as long as the tab lives, also after the page was loaded again. */
export function ownClient(): string {
  return client;
}

/** A tab that was duplicated begins with a copy of the first one's session: the copy hears so, and takes another id. */
function askTabs(): void {
  const channel = new BroadcastChannel(KEY);
  const tell = (note: Note): void => channel.postMessage(note);
  channel.onmessage = ({ data: note }: MessageEvent<Note>) => {
    if ("ask" in note) {
      if (note.ask === client) tell({ takenFor: note.tab });
    } else if (note.takenFor === tab) {
      client = uuid();
      remember(session, KEY, client);
    }
  };
  tell({ ask: client, tab });
}

/** A UUID of version 4 (RFC 9562, section 5.4). `crypto.randomUUID` is missing on a page that came over plain HTTP. */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const digits = Array.from(bytes, (byte, i) => (i === 6 ? (byte & 0x0f) | 0x40 : i === 8 ? (byte & 0x3f) | 0x80 : byte).toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
