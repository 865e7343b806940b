import type { Span, Word } from "@palisade/moderation";
import { number } from "../words";

interface Properties {
  text: string;
  /** Offsets in UTF-16. */
  sentences: Span[];
  words: Word[] | null;
  /** Position of the label in the scores. */
  label: number;
  name: string;
  threshold: number | null;
}

/** Shown of a text of which the model read a part only. */
const UNREAD_MAX = 400;
/** A word below this moves nothing that anyone would see. */
const EFFECT_MIN = 0.02;

/** The text with its sentences tinted by their scores, and the words underlined that raise them. */
export function Reading({ text, sentences, words, label, name, threshold }: Properties) {
  const end = sentences.at(-1)?.end ?? 0;
  const pieces = sentences.flatMap((sentence, i) => {
    const before = text.slice(sentences[i - 1]?.end ?? 0, sentence.start);
    return [before, <Sentence key={sentence.start} text={text} sentence={sentence} words={words ?? []} label={label} name={name} threshold={threshold} />];
  });
  const rest = text.slice(end, end + UNREAD_MAX);
  const strongest = (words ?? []).filter(({ effects }) => (effects[label] ?? 0) >= EFFECT_MIN).sort((a, b) => (b.effects[label] ?? 0) - (a.effects[label] ?? 0));
  return (
    <>
      <p class="reading" dir="auto" data-words={words !== null}>
        {pieces}
        {rest.trim() !== "" && <span class="unread">{rest + (end + UNREAD_MAX < text.length ? " …" : "")}</span>}
      </p>
      <p class="reading-note">
        {strongest.length > 0 ? (
          <>
            {name} comes from{" "}
            {strongest.slice(0, 3).map((word, i) => (
              <>
                {i > 0 && ", "}
                <b dir="auto">{text.slice(word.start, word.end)}</b> (+{number(word.effects[label] ?? 0)})
              </>
            ))}
            .
          </>
        ) : words ? (
          `No single word raises ${name.toLowerCase()} here.`
        ) : (
          "Trying the words one by one…"
        )}
      </p>
    </>
  );
}

function Sentence({ text, sentence, words, label, name, threshold }: Omit<Properties, "sentences" | "words"> & { sentence: Span; words: Word[] }) {
  const score = sentence.scores[label] ?? 0;
  const inside = words.filter(({ start, end }) => start >= sentence.start && end <= sentence.end);
  let at = sentence.start;
  const pieces = inside.flatMap((word) => {
    const effect = word.effects[label] ?? 0;
    const before = text.slice(at, word.start);
    at = word.end;
    const content = text.slice(word.start, word.end);
    if (effect < EFFECT_MIN) return [before + content];
    return [
      before,
      <mark key={word.start} style={{ "--effect": Math.min(1, effect * 1.4) }} title={`${name}: ${number(effect)} of the score is owed to this word`}>
        {content}
      </mark>,
    ];
  });
  const fired = threshold !== null && score >= threshold;
  return (
    <span class={`sentence ${fired ? "fired" : ""}`} style={{ "--heat": score }} title={`${name} of this sentence: ${number(score)}`}>
      {pieces}
      {text.slice(at, sentence.end)}
    </span>
  );
}
