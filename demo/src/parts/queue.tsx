import { useRef } from "preact/hooks";
import { feedback } from "../room/local";
import type { Action, Judgement, Message } from "../room/protocol";
import { count, number, reasons, sentence, title } from "../words";
import { download } from "./download";
import { VerdictChip } from "./verdict";

interface Properties {
  messages: Message[];
  onModerate(id: string, action: Action): void;
  /** Whether this browser keeps the feedback, and can give it out. */
  hasOwnFeedback: boolean;
}

/** What a moderator has to decide, and what was decided. */
export function Queue({ messages, onModerate, hasOwnFeedback }: Properties) {
  const open = messages.filter(({ state }) => state === "held" || state === "blocked");
  const done = messages.filter(({ moderation }) => moderation).reverse();
  const kept = hasOwnFeedback ? feedback() : [];
  const box = useRef<HTMLElement>(null);
  /** The item goes with the decision, so the keyboard's place moves on before: to the next item, or to the heading. */
  const decide = (id: string, action: Action): void => {
    const at = open.findIndex((message) => message.id === id);
    const next = open[at + 1] ?? open[at - 1];
    box.current?.querySelector<HTMLElement>(next ? `[data-id="${next.id}"] button` : "h2")?.focus();
    onModerate(id, action);
  };
  return (
    <section class="card queue" aria-labelledby="queue-name" ref={box} onKeyDown={once}>
      <h2 id="queue-name" tabIndex={-1}>
        To decide <span class="badge">{open.length}</span>
      </h2>
      {open.length === 0 && <p class="empty">Nothing is waiting for you.</p>}
      <ul aria-live="polite">
        {open.map((message) => (
          <li key={message.id} data-id={message.id}>
            <p class="byline">
              <b>{message.author.name}</b> {message.server && <VerdictChip verdict={message.server.verdict} />}
              {message.nudged && <span class="detail">sent after the nudge</span>}
            </p>
            <blockquote dir="auto" id={`said-${message.id}`}>{message.text}</blockquote>
            <Reasons message={message} />
            <div class="buttons">
              <button type="button" aria-describedby={`said-${message.id}`} onClick={() => decide(message.id, "approve")}>
                Approve
              </button>
              <button type="button" class="danger" aria-describedby={`said-${message.id}`} onClick={() => decide(message.id, "remove")}>
                {message.state === "blocked" ? "Keep out" : "Remove"}
              </button>
            </div>
          </li>
        ))}
      </ul>
      {done.length > 0 && (
        <>
          <h2>Decided</h2>
          <ul class="decided">
            {done.slice(0, 20).map(({ id, text, moderation }) => (
              <li key={id}>
                <span class="cut" dir="auto">
                  {text}
                </span>
                <span class="detail">
                  {moderation?.action === "approve" ? "approved" : "removed"} by {moderation?.by}; feedback {moderation?.feedback}
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
      {kept.length > 0 && (
        <button type="button" class="quiet" onClick={() => download("feedback.jsonl", "application/jsonl", kept.map((line) => `${JSON.stringify(line)}\n`).join(""))}>
          Download feedback ({count(kept.length, "judgement")})
        </button>
      )}
    </section>
  );
}

/** A key that is held down decides one message, not all of them in turn. */
function once(event: KeyboardEvent): void {
  if (event.repeat && event.key === "Enter") event.preventDefault();
}

/** Whether scores are the same 32-bit numbers, however many digits each side writes. */
function alike(one: Record<string, number>, other: Record<string, number>): boolean {
  const labels = Object.keys(one);
  return labels.length === Object.keys(other).length && labels.every((label) => label in other && Math.fround(one[label]!) === Math.fround(other[label]!));
}

/** Which thresholds were reached, on the room's side and on the author's. */
function Reasons({ message: { server, browser } }: { message: Message }) {
  const same = server && browser && alike(server.scores, browser.scores);
  return (
    <>
      <ul class="reasons">
        {server?.fired.map(({ label, score, threshold, verdict }) => (
          <li class={verdict}>
            {title(label)} <b>{number(score)}</b> <span class="detail">from {threshold.toFixed(2)}</span>
          </li>
        ))}
        {server && reasons(server).map((reason) => <li>{sentence(reason)}</li>)}
      </ul>
      <p class="detail">
        {browser ? `Browser: ${worded(browser)}. ${same ? "The same scores, to the bit." : "Other scores than the room's."}` : "Not judged in the browser."}
      </p>
    </>
  );
}

function worded({ verdict, release }: Judgement): string {
  return `${verdict}, ${release.name} ${release.version}`;
}
