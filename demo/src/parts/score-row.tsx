import type { Threshold } from "@palisade/moderation";
import { number, title } from "../words";

interface Properties {
  label: string;
  score: number | null;
  limit: Threshold;
  onChange(limit: Threshold): void;
}

/** A label's score on a track, with its thresholds as knobs on the same track. */
export function ScoreRow({ label, score, limit, onChange }: Properties) {
  const reached = (threshold: number | null): boolean => score !== null && threshold !== null && score >= threshold;
  const verdict = reached(limit.block) ? "block" : reached(limit.review) ? "review" : "allow";
  const name = title(label);
  const slide = (event: { currentTarget: HTMLInputElement }, kind: "review" | "block"): void =>
    onChange({ ...limit, [kind]: Number(event.currentTarget.value) });
  return (
    <li class={`score-row ${verdict}`}>
      <span class="score-name">{name}</span>
      <div class="track">
        <div class="track-line">
          <div class="fill" style={{ width: `${(score ?? 0) * 100}%` }} />
        </div>
        {(["review", "block"] as const).map((kind) => {
          const threshold = limit[kind];
          if (threshold === null) return null;
          return (
            <input
              type="range"
              class={kind}
              min={0}
              max={1}
              step={0.005}
              value={threshold}
              aria-label={`${name}: ${kind} at`}
              aria-valuetext={threshold.toFixed(2)}
              title={`${kind} at ${threshold.toFixed(2)}`}
              onInput={(event) => slide(event, kind)}
            />
          );
        })}
      </div>
      <span class="score" data-verdict={verdict}>
        {score === null ? "–" : number(score)}
        {verdict !== "allow" && <span class="hidden">, {verdict}</span>}
      </span>
    </li>
  );
}
