import type { Verdict } from "@palisade/moderation";
import { VERDICTS } from "../words";

const SHAPES: Record<Verdict, string> = {
  allow: "M3 8.5l3.2 3.2L13 5",
  review: "M8 3.5v5.5M8 12v.5",
  block: "M4.5 4.5l7 7M11.5 4.5l-7 7",
};

/** A verdict by word, shape and colour. */
export function VerdictChip({ verdict, large }: { verdict: Verdict; large?: boolean }) {
  return (
    <span class={`chip ${verdict} ${large ? "large" : ""}`}>
      <svg viewBox="0 0 16 16" width="1em" height="1em" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round">
        <path d={SHAPES[verdict]} />
      </svg>
      {VERDICTS[verdict]}
    </span>
  );
}
