import type { Threshold } from "@palisade/moderation";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { isAbort, type Model } from "../model";
import { judgementOf } from "../room/judgement";
import { TEXT_BYTES_MAX, type Judgement } from "../room/protocol";
import { count, number, phrase, sentence, title } from "../words";

interface Properties {
  model: Model;
  /** Whether the room judges by itself, so that a message may leave unjudged. */
  roomJudges: boolean;
  policy: Threshold[];
  disabled: boolean;
  /** A message that was not taken: its text comes back into the field. */
  refused: { text: string } | null;
  onSend(text: string, nudged: boolean, browser: Judgement | null): void;
}

const WITHOUT_MODEL = { server: "Without the model, only the server judges.", local: "Without the model nobody judges, and nothing is sent." };

/** Where a message is written, and judged before it leaves. */
export function Composer({ model, roomJudges, policy, disabled, refused, onSend }: Properties) {
  const [text, setText] = useState("");
  const [nudge, setNudge] = useState<{ text: string; judgement: Judgement } | null>(null);
  const [hint, setHint] = useState<Judgement | null>(null);
  const [problem, setProblem] = useState("");
  /** What could not be judged here. */
  const [unjudged, setUnjudged] = useState<string | null>(null);
  const [judging, setJudging] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const edit = useRef<HTMLButtonElement>(null);
  const id = useId();
  const classifier = model.state === "ready" ? model.classifier : null;
  const bytes = new TextEncoder().encode(text).length;
  const tooLarge = bytes > TEXT_BYTES_MAX;
  const cannotSend = disabled || (!classifier && !roomJudges) || judging || text.trim() === "" || tooLarge;

  useEffect(() => {
    setHint(null);
    if (!classifier || text.trim() === "" || tooLarge) return;
    const stale = new AbortController();
    judgementOf(classifier, text, policy, stale.signal).then(setHint, () => {});
    return () => stale.abort();
  }, [text, classifier, policy]);
  // At once with what is shown: a moment later the person may have moved the focus, or typed on.
  useLayoutEffect(() => edit.current?.focus(), [nudge]);
  useLayoutEffect(() => {
    if (!disabled) field.current?.focus();
  }, [disabled]);
  useLayoutEffect(() => {
    if (refused) write(text.trim() === "" ? refused.text : `${refused.text}\n${text}`);
  }, [refused]);

  const write = (text: string): void => {
    setText(text);
    setNudge(null);
    setProblem("");
  };
  const leave = (text: string, nudged: boolean, browser: Judgement | null): void => {
    onSend(text, nudged, browser);
    write("");
    field.current?.focus();
  };
  const submit = async (event?: Event): Promise<void> => {
    event?.preventDefault();
    if (cannotSend || nudge) return;
    setProblem("");
    if (!classifier || (roomJudges && unjudged === text)) return leave(text, false, null);
    setJudging(true);
    try {
      const judgement = await judgementOf(classifier, text, policy);
      if (field.current?.value !== text) setProblem("Not sent: the message was changed while it was judged.");
      else if (judgement.verdict === "allow") leave(text, false, judgement);
      else setNudge({ text, judgement });
    } catch (error) {
      if (isAbort(error)) return;
      const reason = sentence(error instanceof Error ? error.message : String(error));
      setUnjudged(text);
      setProblem(roomJudges ? `Not judged here: ${reason} Send it again, and the server alone judges it.` : reason);
    } finally {
      setJudging(false);
    }
  };
  const backToText = (): void => {
    setNudge(null);
    field.current?.focus();
  };

  return (
    <form class="composer" onSubmit={submit}>
      {nudge && (
        <div
          class={`nudge ${nudge.judgement.verdict}`}
          role="alertdialog"
          aria-labelledby={`${id}-nudge`}
          aria-describedby={`${id}-why`}
          onKeyDown={(event) => event.key === "Escape" && backToText()}
        >
          <p id={`${id}-nudge`}>
            <strong>This may read as {phrase(nudge.judgement.fired)}.</strong> {nudge.judgement.verdict === "block" ? "The room will likely block it." : "The room will likely hold it."} Send anyway?
          </p>
          <p id={`${id}-why`} class="detail">
            {nudge.judgement.fired.map(({ label, score, threshold }) => `${title(label)} ${number(score)} (from ${threshold.toFixed(2)})`).join(" · ")}. Judged in your browser; nothing was sent.
          </p>
          <div class="buttons">
            <button type="button" class="primary" ref={edit} onClick={backToText}>
              Rephrase
            </button>
            <button type="button" onClick={() => leave(nudge.text, true, nudge.judgement)}>
              Send anyway
            </button>
          </div>
        </div>
      )}
      <label for={`${id}-text`} class="hidden">
        Message
      </label>
      <div class="composer-row">
        <textarea
          id={`${id}-text`}
          ref={field}
          rows={2}
          dir="auto"
          placeholder="Write a message"
          value={text}
          disabled={disabled}
          aria-describedby={`${id}-hint`}
          onInput={({ currentTarget }) => write(currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.isComposing) void submit(event);
          }}
        />
        <button type="submit" class="primary" disabled={cannotSend}>
          Send
        </button>
      </div>
      <p class="hint" id={`${id}-hint`} data-verdict={hint?.verdict}>
        {tooLarge
          ? `This message has ${count(bytes, "byte")}; a room takes ${count(TEXT_BYTES_MAX, "byte")}.`
          : problem || (hint ? (hint.verdict === "allow" ? "Reads fine." : `May read as ${phrase(hint.fired)}.`) : classifier ? "Enter sends, Shift+Enter starts a line." : WITHOUT_MODEL[roomJudges ? "server" : "local"])}
      </p>
    </form>
  );
}
