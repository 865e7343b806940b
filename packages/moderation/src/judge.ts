// From scores to a verdict, as the server's policies do it (`/v1/moderate`).

/** What to do with a text: let it pass, hold it for a person, refuse it. */
export type Verdict = "allow" | "review" | "block";

/** Scores at or above which a label speaks for a verdict; null where it does not. */
export interface Threshold {
  label: string;
  review: number | null;
  block: number | null;
}

/** A threshold that a score has reached. */
export interface Fired {
  label: string;
  score: number;
  threshold: number;
  verdict: "review" | "block";
}

/** The strictest verdict of all labels, and the thresholds behind it, one a label. */
export interface Judgement {
  verdict: Verdict;
  fired: Fired[];
}

/** Judges one text. `scores` are in the order of `labels`; a label without a threshold is not judged. */
export function judge(labels: readonly string[], scores: ArrayLike<number>, thresholds: readonly Threshold[]): Judgement {
  const fired = labels.flatMap((label, at): Fired[] => {
    const threshold = thresholds.find((threshold) => threshold.label === label);
    const score = decimal(scores[at] ?? 0);
    const reached = (limit: number | null | undefined): limit is number => limit != null && score >= decimal(limit);
    if (reached(threshold?.block)) return [{ label, score, threshold: decimal(threshold.block), verdict: "block" }];
    if (reached(threshold?.review)) return [{ label, score, threshold: decimal(threshold.review), verdict: "review" }];
    return [];
  });
  const verdict = fired.some(({ verdict }) => verdict === "block") ? "block" : fired.length > 0 ? "review" : "allow";
  return { verdict, fired };
}

/** The shortest decimal that names the same 32-bit number, so that 0.7 is 0.7 on both sides; a number that is no 32-bit one stays as it is. */
function decimal(number: number): number {
  if (Math.fround(number) !== number) return number;
  for (let digits = 6; digits < 10; digits += 1) {
    const short = Number(number.toPrecision(digits));
    if (Math.fround(short) === number) return short;
  }
  return number;
}
