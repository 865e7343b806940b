import type { Judgement, Message } from "../room/protocol";
import { phrase, reasons } from "../words";

const NOTES: Record<Message["state"], string> = {
  shown: "",
  held: "held for a moderator",
  blocked: "blocked",
  removed: "removed by a moderator",
};

/** One message, as its reader may see it. */
export function MessageItem({ message, isMine, onRemove }: { message: Message; isMine: boolean; onRemove: (() => void) | null }) {
  const { author, at, text, state, server, moderation } = message;
  const isOpen = state === "held" || state === "blocked";
  return (
    <div class={`message ${isMine ? "mine" : ""} ${state}`} data-state={state}>
      <p class="byline">
        <b>{isMine ? "You" : author.name}</b> <time dateTime={at}>{new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}</time>
      </p>
      <div class="bubble-row">
        <p class="bubble" dir="auto">
          {text ?? "This message was removed."}
        </p>
        {onRemove && state === "shown" && (
          <button type="button" class="quiet remove" onClick={onRemove} aria-label={`Remove the message of ${author.name}`}>
            Remove
          </button>
        )}
      </div>
      {(NOTES[state] || moderation) && (
        <p class="message-note">
          {NOTES[state] || "approved by a moderator"}
          {isOpen && server && because(server)}
          {isMine && isOpen && "; only you and moderators see it"}
        </p>
      )}
    </div>
  );
}

/** Why the room judged so. */
function because(judgement: Judgement): string {
  const read = judgement.fired.length > 0 ? [`may read as ${phrase(judgement.fired)}`] : [];
  const all = [...read, ...reasons(judgement)];
  return all.length > 0 ? `: ${all.join(", and ")}` : "";
}
