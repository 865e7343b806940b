// How the scores of a label are spread.
import { title } from "../words";

interface Properties {
  label: string;
  counts: number[];
  threshold: number | null;
  /** Share of texts at or above the threshold. */
  share: number;
  isOn: boolean;
  onPick(): void;
}

const WIDTH = 200;
const HEIGHT = 48;

/** Bars by the square root of the counts: most texts are near 0, and the few that are not should be seen. */
export function Plot({ label, counts, threshold, share, isOn, onPick }: Properties) {
  const largest = Math.max(1, ...counts);
  const step = WIDTH / counts.length;
  const percent = `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;
  return (
    <button type="button" class="plot" aria-pressed={isOn} onClick={onPick} title={`Sort and filter by ${title(label)}`}>
      <span class="plot-name">
        <span class="cut">{title(label)}</span> <b>{percent}</b>
      </span>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        {counts.map((count, bin) => {
          const height = count === 0 ? 0 : Math.max(1.5, Math.sqrt(count / largest) * (HEIGHT - 2));
          const fired = threshold !== null && bin / counts.length >= threshold;
          return <rect x={bin * step + 0.75} width={step - 1.5} y={HEIGHT - height} height={height} class={fired ? "fired" : ""} />;
        })}
        {threshold !== null && <line x1={threshold * WIDTH} x2={threshold * WIDTH} y1={0} y2={HEIGHT} vector-effect="non-scaling-stroke" />}
      </svg>
      <span class="hidden">of the texts are at or above the threshold {threshold?.toFixed(2)}</span>
    </button>
  );
}
