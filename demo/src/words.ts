// How labels, numbers and verdicts are worded.
import type { Fired, Label, Threshold, Verdict } from "@palisade/moderation";
import type { Judgement, Reason } from "./room/protocol";

const PHRASES: Record<string, string> = {
  TOXICITY: "rude or disrespectful",
  SEVERE_TOXICITY: "very hateful",
  INSULT: "an insult",
  PROFANITY: "swearing",
  THREAT: "a threat",
  IDENTITY_ATTACK: "an attack on a group of people",
  SEXUALLY_EXPLICIT: "sexually explicit",
  SPAM: "spam",
  HATE: "hate",
};

/** `IDENTITY_ATTACK` as people write it. */
export function title(label: string): string {
  const words = label.toLowerCase().replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The threshold that says most: one for blocking before one for review, a particular label before TOXICITY, then the highest score. */
export function foremost(fired: readonly Fired[]): Fired | null {
  const rank = ({ label, verdict, score }: Fired): number => (verdict === "block" ? 4 : 0) + (label === "TOXICITY" ? 0 : 2) + score;
  return [...fired].sort((a, b) => rank(b) - rank(a))[0] ?? null;
}

/** What a text that reached thresholds may read as. */
export function phrase(fired: readonly Fired[]): string {
  const label = foremost(fired)?.label;
  return label ? (PHRASES[label] ?? title(label).toLowerCase()) : "fine";
}

const REASONS: Record<Reason, string> = {
  "unsupported-language": "in a language that the model was not trained for",
  truncated: "too long for the model, which read only its beginning",
};

/** What raised a verdict beside the labels, in words. */
export function reasons({ reasons }: Judgement): string[] {
  return (reasons ?? []).map((reason) => REASONS[reason] ?? reason);
}

export const VERDICTS: Record<Verdict, string> = { allow: "Allow", review: "Review", block: "Block" };

/** The thresholds that the release's makers give. */
export function thresholds(labels: readonly Label[]): Threshold[] {
  const short = (number: number): number => Number(number.toPrecision(6));
  return labels.map(({ name, threshold, block }) => ({ label: name, review: short(threshold), block: block == null ? null : short(block) }));
}

/** Bytes in megabytes of a million, as networks count. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** A message with a capital letter and a full stop. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? "" : "."}`;
}

/** A score with two digits; one that is less than half of the last digit is no zero. */
export function number(score: number): string {
  return score > 0 && score < 0.005 ? "<0.01" : score.toFixed(2);
}

export function milliseconds(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
