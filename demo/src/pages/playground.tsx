// Type, and see the scores move.
import { judge, ModerationError, toUtf16, type Classified, type Classifier, type Fired, type Threshold } from "@palisade/moderation";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { isAbort, type Model } from "../model";
import { Facts } from "../parts/facts";
import { Notice } from "../parts/notice";
import { Reading } from "../parts/reading";
import { ScoreRow } from "../parts/score-row";
import { VerdictChip } from "../parts/verdict";
import { count, foremost, milliseconds, phrase, thresholds, title } from "../words";

const SAMPLES = [
  { name: "Friendly", text: "Great write-up, thank you. The second photo made my day." },
  { name: "Insult", text: "I read the whole report. This is the dumbest thing I have read all week, and so is its author." },
  { name: "Disguised", text: "You are such an 1d10t, go back to school." },
  { name: "Threat", text: "Nice match yesterday! I will find you and I will break your legs." },
  { name: "Quoted", text: "\"You are a disgrace\" is not something I want my daughter to hear at a match." },
];

/** How long typing rests before words are tried one by one, which costs a pass of the model each. */
const WORDS_AFTER_MS = 150;

/** A text beyond this is shortened before it is shown: no release reads more than 20,480 bytes, and a field with megabytes is slow to type in. */
const TEXT_MAX = 100_000;

/** What is known of a text: the scores at once, the words a moment later. */
interface Scored {
  text: string;
  classified: Classified;
  hasWords: boolean;
}

export function Playground({ model }: { model: Model }) {
  const [text, setText] = useState(SAMPLES[1]?.text ?? "");
  const classifier = model.state === "ready" ? model.classifier : null;
  const [shortened, setShortened] = useState<number | null>(null);
  const [scored, error] = useScores(classifier, text);
  const [limits, setLimits] = useThresholds(classifier);
  const [shown, setShown] = useState("strongest");
  const field = useId();

  const write = (text: string): void => {
    setText(text.slice(0, TEXT_MAX));
    setShortened(text.length > TEXT_MAX ? text.length : null);
  };
  const paste = (event: ClipboardEvent & { currentTarget: HTMLTextAreaElement }): void => {
    const pasted = event.clipboardData?.getData("text/plain") ?? "";
    if (pasted.length <= TEXT_MAX) return;
    event.preventDefault();
    const { value, selectionStart, selectionEnd } = event.currentTarget;
    write(value.slice(0, selectionStart) + pasted + value.slice(selectionEnd));
  };

  const result = scored?.classified.results[0];
  const labels = scored?.classified.labels ?? [];
  const judgement = result ? judge(labels, result.scores, limits) : null;
  const strongest = result && judgement ? strongestLabel(labels, result.scores, judgement.fired) : null;
  const marked = shown === "strongest" ? strongest : shown;
  const releaseLimits = classifier ? thresholds(classifier.description.labels) : [];
  const changed = JSON.stringify(limits) !== JSON.stringify(releaseLimits);

  return (
    <>
      <div class="lead">
        <h1>Judged before it leaves the page</h1>
        <p>Type a comment. The model runs in this tab: nothing is sent, and the scores are the same, to the bit, as on the server.</p>
      </div>
      <div class="playground">
        <section aria-labelledby={`${field}-title`} class="card">
          <h2 id={`${field}-title`} class="hidden">
            Text
          </h2>
          <label for={field} class="field-name">
            Your text
          </label>
          <textarea id={field} dir="auto" rows={6} spellcheck={false} placeholder="Write something…" value={text} onPaste={paste} onInput={({ currentTarget }) => write(currentTarget.value)} />
          <div class="samples" role="group" aria-label="Samples">
            {SAMPLES.map((sample) => (
              <button type="button" class="quiet" onClick={() => write(sample.text)} aria-pressed={text === sample.text}>
                {sample.name}
              </button>
            ))}
          </div>
          {error && (
            <Notice kind="error" title={error instanceof ModerationError && error.code === "batch-too-large" ? "This text is too large" : "This text was not scored"}>
              {error.message}
            </Notice>
          )}
          {shortened !== null && (
            <Notice kind="warning" title="This text was shortened">
              It has {count(shortened, "character")}; the first {TEXT_MAX.toLocaleString("en")} are here. Compare takes many texts at once.
            </Notice>
          )}
          {result?.truncated && classifier && (
            <Notice kind="info" title="Only the beginning was read">
              The model reads the first {count(classifier.description.limits.tokensMax, "token")} of a text, and at most {count(classifier.description.limits.textBytesMax, "byte")}. The scores speak of that part.
            </Notice>
          )}
          <div class="reading-head">
            <h2>What the model sees</h2>
            <label class="select small">
              <span>Highlight for</span>
              <select value={shown} onChange={({ currentTarget }) => setShown(currentTarget.value)}>
                <option value="strongest">the strongest label</option>
                {labels.map((label) => (
                  <option value={label}>{title(label)}</option>
                ))}
              </select>
            </label>
          </div>
          {scored && result && marked ? (
            <Reading
              text={scored.text}
              sentences={toUtf16(scored.text, result.spans)}
              words={scored.hasWords ? toUtf16(scored.text, result.words) : null}
              label={labels.indexOf(marked)}
              name={title(marked)}
              threshold={limits.find(({ label }) => label === marked)?.review ?? null}
            />
          ) : (
            <p class="empty">{text.trim() === "" ? "Nothing to read yet." : model.state === "failed" ? "No model, no scores." : "Waiting for the model…"}</p>
          )}
        </section>

        <section aria-label="Scores" class="card">
          <div class="verdict-head">
            <div aria-live="polite" aria-atomic="true">
              {judgement ? (
                <>
                  <VerdictChip verdict={judgement.verdict} large />
                  <span class="why">{judgement.fired.length > 0 ? `may read as ${phrase(judgement.fired)}` : "no threshold reached"}</span>
                </>
              ) : (
                <span class="why">No text, no verdict</span>
              )}
            </div>
            <span class="timing">{scored ? milliseconds(scored.classified.milliseconds) : ""}</span>
          </div>
          <ul class="scores">
            {(classifier?.description.labels ?? []).map(({ name }) => (
              <ScoreRow
                key={name}
                label={name}
                score={result?.scores[labels.indexOf(name)] ?? null}
                limit={limits.find(({ label }) => label === name) ?? { label: name, review: null, block: null }}
                onChange={(limit) => setLimits(limits.map((old) => (old.label === name ? limit : old)))}
              />
            ))}
            {!classifier && Array.from({ length: 9 }, () => <li class="score-row ghost" aria-hidden="true" />)}
          </ul>
          <div class="legend">
            <span>
              <i class="knob review" /> review at
            </span>
            <span>
              <i class="knob block" /> block at
            </span>
            <button type="button" class="quiet" disabled={!changed} onClick={() => setLimits(releaseLimits)}>
              Reset thresholds
            </button>
          </div>
        </section>
      </div>
      <Facts model={model} />
    </>
  );
}

/** The label that the verdict rests on, or else the one with the highest score. */
function strongestLabel(labels: string[], scores: ArrayLike<number>, fired: readonly Fired[]): string | null {
  const ranked = labels.map((label, i) => ({ label, score: scores[i] ?? 0 })).sort((a, b) => b.score - a.score);
  return foremost(fired)?.label ?? ranked[0]?.label ?? null;
}

/** Thresholds to slide, at first those of the release. */
function useThresholds(classifier: Classifier | null): [Threshold[], (limits: Threshold[]) => void] {
  const [limits, setLimits] = useState<Threshold[]>([]);
  useEffect(() => {
    if (classifier) setLimits(thresholds(classifier.description.labels));
  }, [classifier]);
  return [limits, setLimits];
}

/** Scores of the text as it is now. What is computed for a text that has changed is cancelled. */
function useScores(classifier: Classifier | null, text: string): [Scored | null, Error | null] {
  const [scored, setScored] = useState<Scored | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const stale = useRef(new AbortController());
  useEffect(() => {
    stale.current.abort();
    if (!classifier) {
      setError(null);
      return setScored(null);
    }
    const mine = (stale.current = new AbortController());
    const { signal } = mine;
    setError(null);
    if (text.trim() === "") return setScored(null);
    const score = async (): Promise<void> => {
      const classified = await classifier.classify([text], { spans: true, signal });
      setScored({ text, classified, hasWords: false });
      await new Promise((resolve) => setTimeout(resolve, WORDS_AFTER_MS));
      signal.throwIfAborted();
      const { results } = await classifier.classify([text], { spans: true, words: true, signal });
      setScored({ text, classified: { ...classified, results }, hasWords: true });
    };
    score().catch((error: Error) => {
      if (isAbort(error)) return;
      setError(error);
      setScored(null);
    });
    return () => mine.abort();
  }, [classifier, text]);
  return [scored, error];
}
