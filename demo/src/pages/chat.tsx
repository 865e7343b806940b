// A group chat in which every message is judged twice: before it leaves the page, and by the room.
import type { Threshold } from "@palisade/moderation";
import { useEffect, useId, useReducer, useRef, useState } from "preact/hooks";
import type { Model } from "../model";
import { Composer } from "../parts/composer";
import { focusNew } from "../parts/focus";
import { MessageItem } from "../parts/message-item";
import { Notice } from "../parts/notice";
import { Queue } from "../parts/queue";
import { VerdictChip } from "../parts/verdict";
import { ownClient, uuid } from "../room/client";
import { judgementOf } from "../room/judgement";
import { joinLocal } from "../room/local";
import { NAME_MAX, type Action, type Judgement, type Message, type Person, type Role, type Room, type RoomEvent } from "../room/protocol";
import { joinServer } from "../room/socket";
import { remember, session } from "../storage";
import { count, sentence, thresholds } from "../words";

interface Entry {
  name: string;
  room: string;
  role: Role;
  place: "local" | "server";
  key: string;
}

const FIRST: Entry = { name: "", room: "lounge", role: "member", place: "local", key: "" };

export function Chat({ model }: { model: Model }) {
  const [entry, setEntry] = useState<Entry>(() => ({ ...FIRST, name: session.getItem("palisade-name") ?? "" }));
  const [isIn, setIn] = useState(false);
  const leave = (): void => {
    focusNew();
    setIn(false);
  };
  const enter = (entry: Entry): void => {
    focusNew(); // until the field for messages is there
    setEntry(entry);
    setIn(true);
  };
  if (!isIn) return <Door last={entry} model={model} onEnter={enter} />;
  return <InRoom key={JSON.stringify(entry)} entry={entry} model={model} onEnter={enter} onLeave={leave} />;
}

/** The form before the room, as it was filled in last. */
function Door({ last, onEnter, model }: { last: Entry; onEnter(entry: Entry): void; model: Model }) {
  const id = useId();
  const [entry, setEntry] = useState(last);
  const set = (part: Partial<Entry>): void => setEntry({ ...entry, ...part });
  const enter = (event: Event): void => {
    event.preventDefault();
    const name = entry.name.trim();
    remember(session, "palisade-name", name);
    onEnter({ ...entry, name });
  };
  return (
    <>
      <div class="lead">
        <h1>A chat that asks first</h1>
        <p>Each message is judged in your browser before it is sent, and again by the room: shown, held for a moderator, or blocked. Open this page in a second tab to talk with yourself.</p>
      </div>
      <div class="entrance">
        <form class="card door" onSubmit={enter}>
          <label for={`${id}-name`} class="field-name">
            Your name
          </label>
          <input id={`${id}-name`} required maxLength={NAME_MAX} pattern=".*\S.*" autocomplete="nickname" value={entry.name} onInput={({ currentTarget }) => set({ name: currentTarget.value })} />
          <label for={`${id}-room`} class="field-name">
            Room
          </label>
          <input
            id={`${id}-room`}
            required
            pattern="[a-z0-9][a-z0-9\-]{0,39}"
            title="lower-case letters, digits and hyphens, at most 40"
            value={entry.room}
            onInput={({ currentTarget }) => set({ room: currentTarget.value })}
          />
          <fieldset>
            <legend class="field-name">You come as</legend>
            <Choice name={`${id}-role`} checked={entry.role === "member"} onPick={() => set({ role: "member" })} title="A member" detail="writes and reads" />
            <Choice name={`${id}-role`} checked={entry.role === "moderator"} onPick={() => set({ role: "moderator" })} title="A moderator" detail="also sees what was held, and why" />
          </fieldset>
          <fieldset>
            <legend class="field-name">The room is</legend>
            <Choice name={`${id}-place`} checked={entry.place === "local"} onPick={() => set({ place: "local" })} title="Tabs of this browser" detail="they talk to each other, without a server" />
            <Choice name={`${id}-place`} checked={entry.place === "server"} onPick={() => set({ place: "server" })} title="This server" detail="for everybody, where palisade serve has this page" />
          </fieldset>
          {entry.place === "server" && (
            <>
              <label for={`${id}-key`} class="field-name">
                Key <span class="optional">if the server wants one</span>
              </label>
              <input id={`${id}-key`} type="password" autocomplete="off" value={entry.key} onInput={({ currentTarget }) => set({ key: currentTarget.value })} />
            </>
          )}
          <button type="submit" class="primary" disabled={entry.place === "local" && model.state !== "ready"}>
            {entry.place === "local" && model.state === "loading" ? "Loading the model…" : "Enter the room"}
          </button>
        </form>
        <Explanation />
      </div>
    </>
  );
}

function Explanation() {
  return (
    <section class="card explanation" aria-labelledby="explanation">
      <h2 id="explanation">What happens to a message</h2>
      <ol>
        <li>
          <b>Before it leaves.</b> Your browser scores it. If it may hurt, you are asked: rephrase, or send anyway?
        </li>
        <li>
          <b>When it arrives.</b> The room believes no browser: it scores the message again, and decides.
          <dl>
            <dt>
              <VerdictChip verdict="allow" />
            </dt>
            <dd>everybody sees it</dd>
            <dt>
              <VerdictChip verdict="review" />
            </dt>
            <dd>it waits for a moderator</dd>
            <dt>
              <VerdictChip verdict="block" />
            </dt>
            <dd>it is kept out, unless a moderator lets it in</dd>
          </dl>
        </li>
        <li>
          <b>When a person disagrees.</b> A moderator approves or removes, and that is kept as feedback for the next model.
        </li>
      </ol>
    </section>
  );
}

function Choice({ name, checked, onPick, title, detail }: { name: string; checked: boolean; onPick(): void; title: string; detail: string }) {
  return (
    <label class="choice">
      <input type="radio" name={name} checked={checked} onChange={onPick} />
      <span>
        {title} <span class="optional">{detail}</span>
      </span>
    </label>
  );
}

interface RoomState {
  joined: boolean;
  connection: RoomEvent & { type: "connection" };
  /** What the room calls this tab. */
  you: string;
  people: Person[];
  messages: Message[];
  policy: Threshold[];
  /** Sent, and not answered yet. */
  pending: { id: string; text: string }[];
  /** What was refused last, and why. Without a text where it was no message. */
  refused: { text: string; detail: string } | null;
}

type Change = RoomEvent | { type: "sent"; id: string; text: string } | { type: "dismissed" };

const NOWHERE: RoomState = { joined: false, connection: { type: "connection", state: "lost", detail: "connecting", code: null }, you: "", people: [], messages: [], policy: [], pending: [], refused: null };

function changed(state: RoomState, change: Change): RoomState {
  switch (change.type) {
    case "connection":
      return { ...state, connection: change };
    case "joined":
      return { ...state, joined: true, you: change.you.client, people: change.people, messages: change.history, policy: change.policy };
    case "people":
      return { ...state, people: change.people };
    case "message": {
      const { message } = change;
      const others = state.messages.filter(({ id }) => id !== message.id);
      const messages = [...others, message].sort((a, b) => a.sequence - b.sequence);
      return { ...state, messages, pending: state.pending.filter(({ id }) => id !== message.id) };
    }
    case "error": {
      const text = state.pending.find(({ id }) => id === change.id)?.text ?? "";
      return { ...state, pending: state.pending.filter(({ id }) => id !== change.id), refused: { text, detail: change.detail } };
    }
    case "sent":
      return { ...state, pending: [...state.pending, change], refused: null };
    case "dismissed":
      return { ...state, refused: null };
  }
}

function InRoom({ entry, model, onEnter, onLeave }: { entry: Entry; model: Model; onEnter(entry: Entry): void; onLeave(): void }) {
  const [state, apply] = useReducer(changed, NOWHERE);
  const room = useRef<Room | null>(null);
  const classifier = model.state === "ready" ? model.classifier : null;
  const latest = useRef(classifier);
  latest.current = classifier;
  const isModerator = entry.role === "moderator";

  useEffect(() => {
    const you: Person = { client: ownClient(), name: entry.name, role: entry.role };
    let joined: Room | null = null;
    if (entry.place === "server") {
      joined = joinServer({ room: entry.room, you, key: entry.key || null, onEvent: apply });
    } else if (classifier) {
      const policy = thresholds(classifier.description.labels);
      const judge = (text: string): Promise<Judgement> => {
        if (!latest.current) throw new Error("the model is not loaded: send again in a moment");
        return judgementOf(latest.current, text, policy);
      };
      joined = joinLocal({ room: entry.room, you, release: classifier.description.release, policy, judge, onEvent: apply });
    }
    room.current = joined;
    // Once each: to close a room again throws, and then no other would be joined.
    return () => joined?.close();
  }, [entry.place === "local" && classifier]);

  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [state.messages.length, state.pending.length]);

  const send = (text: string, nudged: boolean, browser: Judgement | null): void => {
    const id = uuid();
    apply({ type: "sent", id, text });
    room.current?.send({ id, text, nudged, browser });
  };
  const moderate = (id: string, action: Action): void => room.current?.moderate(id, action);
  const remove = (id: string): void => {
    list.current?.focus(); // the button goes with what it does
    moderate(id, "remove");
  };
  const { connection } = state;

  return (
    <div class={`chat ${isModerator ? "with-queue" : ""}`}>
      <section class="card room" aria-labelledby="room-name">
        <header class="room-head">
          <div>
            <h1 id="room-name"># {entry.room}</h1>
            <p class="detail">
              <span class={`dot ${connection.state}`} /> {entry.place === "local" ? "tabs of this browser" : location.host}
              {connection.state === "lost" && `: ${connection.detail}`}
              {state.people.length > 0 && (
                <>
                  {" · "}
                  {count(state.people.length, "person", "people")}
                  <span class="people">{state.people.map(({ name, role }) => (role === "moderator" ? `${name} (moderator)` : name)).join(", ")}</span>
                </>
              )}
            </p>
          </div>
          <button type="button" class="quiet" onClick={onLeave}>
            Leave
          </button>
        </header>
        {connection.state === "ended" && (
          <Notice
            kind="error"
            title="Not in the room"
            action={connection.code === "unauthorised" && isModerator ? { name: "Join as a member", run: () => onEnter({ ...entry, role: "member" }) } : { name: "Back", run: onLeave }}
          >
            {sentence(connection.detail)} A room of this browser's tabs works without a server.
          </Notice>
        )}
        <div class="messages" role="log" aria-label="Messages" tabIndex={0} ref={list}>
          {state.joined && state.messages.length === 0 && state.pending.length === 0 && (
            <p class="empty">
              Nobody has said anything yet.
              <br />
              Say hello, or try to be rude.
            </p>
          )}
          {state.messages.map((message) => (
            <MessageItem key={message.id} message={message} isMine={message.author.client === state.you} onRemove={isModerator ? () => remove(message.id) : null} />
          ))}
          {state.pending.map(({ id, text }) => (
            <div key={id} class="message mine pending">
              <p class="bubble" dir="auto">
                {text}
              </p>
              <p class="message-note">sending…</p>
            </div>
          ))}
        </div>
        {state.refused && (
          <Notice kind="error" title="Not accepted" action={{ name: "Dismiss", run: () => apply({ type: "dismissed" }) }}>
            {sentence(state.refused.detail)} {state.refused.text && "Your text is back in the field."}
          </Notice>
        )}
        <Composer model={model} roomJudges={entry.place === "server"} policy={state.policy} disabled={!state.joined || connection.state === "ended"} refused={state.refused?.text ? state.refused : null} onSend={send} />
      </section>
      {isModerator && <Queue messages={state.messages} onModerate={moderate} hasOwnFeedback={entry.place === "local"} />}
    </div>
  );
}
