import type { Threshold } from "@palisade/moderation";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { isAbort, type Model } from "../model";
import { judgementOf } from "../room/judgement";
import { TEXT_BYTES_MAX, type Judgement } from "../room/protocol";
import { count, number, phrase, title } from "../words";

interface Properties {
  model: Model;
  policy: Threshold[];
  disabled: boolean;
  onSend(text: string, nudged: boolean, browser: Judgement | null): void;
}

/** Where a message is written, and judged before it leaves. */
export function Composer({ model, policy, disabled, onSend }: Properties) {
  const [text, setText] = useState("");
  const [nudge, setNudge] = useState<Judgement | null>(null);
  const [hint, setHint] = useState<Judgement | null>(null);
  const [problem, setProblem] = useState("");
  const [judging, setJudging] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const edit = useRef<HTMLButtonElement>(null);
  const id = useId();
  const classifier = model.state === "ready" ? model.classifier : null;
  const bytes = new TextEncoder().encode(text).length;
  const tooLarge = bytes > TEXT_BYTES_MAX;

  useEffect(() => {
    setHint(null);
    if (!classifier || text.trim() === "" || tooLarge) return;
    const stale = new AbortController();
    judgementOf(classifier, text, policy, stale.signal).then(setHint, () => {});
    return () => stale.abort();
  }, [text, classifier, policy]);
  useEffect(() => edit.current?.focus(), [nudge]);

  const leave = (nudged: boolean, browser: Judgement | null): void => {
    onSend(text, nudged, browser);
    setText("");
    setNudge(null);
    field.current?.focus();
  };
  const submit = async (event?: Event): Promise<void> => {
    event?.preventDefault();
    if (disabled || judging || nudge || text.trim() === "" || tooLarge) return;
    setProblem("");
    if (!classifier) return leave(false, null); // the server judges it
    setJudging(true);
    try {
      const judgement = await judgementOf(classifier, text, policy);
      if (judgement.verdict === "allow") leave(false, judgement);
      else setNudge(judgement);
    } catch (error) {
      if (!isAbort(error)) setProblem(error instanceof Error ? error.message : String(error));
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
          class={`nudge ${nudge.verdict}`}
          role="alertdialog"
          aria-labelledby={`${id}-nudge`}
          aria-describedby={`${id}-why`}
          onKeyDown={(event) => event.key === "Escape" && backToText()}
        >
          <p id={`${id}-nudge`}>
            <strong>This may read as {phrase(nudge.fired)}.</strong> {nudge.verdict === "block" ? "The room will likely block it." : "The room will likely hold it."} Send anyway?
          </p>
          <p id={`${id}-why`} class="detail">
            {nudge.fired.map(({ label, score, threshold }) => `${title(label)} ${number(score)} (from ${threshold.toFixed(2)})`).join(" · ")}. Judged in your browser; nothing was sent.
          </p>
          <div class="buttons">
            <button type="button" class="primary" ref={edit} onClick={backToText}>
              Rephrase
            </button>
            <button type="button" onClick={() => leave(true, nudge)}>
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
          onInput={({ currentTarget }) => {
            setText(currentTarget.value);
            setNudge(null);
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.isComposing) void submit(event);
          }}
        />
        <button type="submit" class="primary" disabled={disabled || judging || text.trim() === "" || tooLarge}>
          Send
        </button>
      </div>
      <p class="hint" id={`${id}-hint`} data-verdict={hint?.verdict}>
        {tooLarge
          ? `This message has ${count(bytes, "byte")}; a room takes ${count(TEXT_BYTES_MAX, "byte")}.`
          : problem || (hint ? (hint.verdict === "allow" ? "Reads fine." : `May read as ${phrase(hint.fired)}.`) : classifier ? "Enter sends, Shift+Enter starts a line." : "Without the model, only the server judges.")}
      </p>
    </form>
  );
}
