// A table of any length, of which only the rows in sight exist.
import { useEffect, useRef, useState } from "preact/hooks";
import { VerdictChip } from "../parts/verdict";
import { number, title } from "../words";
import type { Outcome, Scoring } from "./scoring";

export interface Sort {
  /** `row`, `verdict`, or a label. */
  by: string;
  down: boolean;
}

interface Properties {
  scoring: Scoring;
  /** Texts that pass the filters, in order. */
  order: Int32Array;
  verdicts: Outcome[];
  sort: Sort;
  onSort(sort: Sort): void;
}

const ROW_PX = 40;
const BEYOND = 8;

export function ScoreTable({ scoring, order, verdicts, sort, onSort }: Properties) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [opened, setOpened] = useState<number | null>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const look = (): void => setView({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, []);
  useEffect(() => box.current?.scrollTo({ top: 0 }), [sort]);

  const first = Math.max(0, Math.floor(view.top / ROW_PX) - BEYOND);
  const last = Math.min(order.length, Math.ceil((view.top + view.height) / ROW_PX) + BEYOND);
  const columns = [{ by: "verdict", name: "Verdict" }, ...scoring.labels.map((label) => ({ by: label, name: title(label) }))];
  return (
    <>
      <div class="table-box" ref={box} tabIndex={0} role="region" aria-label="Scores, scrollable">
        <table aria-rowcount={order.length + 1}>
          <thead>
            <tr>
              <Header by="row" name="#" sort={sort} onSort={onSort} />
              <th scope="col" class="text">
                Text
              </th>
              {columns.map(({ by, name }) => (
                <Header key={by} by={by} name={name} sort={sort} onSort={onSort} />
              ))}
            </tr>
          </thead>
          <tbody>
            {first > 0 && <Space rows={first} columns={columns.length + 2} />}
            {Array.from(order.subarray(first, last), (text, i) => {
              const verdict = verdicts[text] ?? "failed";
              return (
                <tr key={text} aria-rowindex={first + i + 2} data-row={text + 1}>
                  <td class="row">{text + 1}</td>
                  <td class="text">
                    <button type="button" class="cell" dir="auto" onClick={() => setOpened(text)} title="Show the whole text">
                      {scoring.texts[text]?.slice(0, 300) || <i>blank</i>}
                    </button>
                  </td>
                  <td>{verdict === "failed" ? <span class="detail">failed</span> : <VerdictChip verdict={verdict} />}</td>
                  {scoring.labels.map((label, at) => {
                    const score = scoring.scores[text * scoring.labels.length + at] ?? 0;
                    return (
                      <td key={label} class="number" style={{ "--heat": score }}>
                        {verdict === "failed" ? "–" : number(score)}
                      </td>
                    );
                  })}
                </tr>
              );
            })}
            {last < order.length && <Space rows={order.length - last} columns={columns.length + 2} />}
          </tbody>
        </table>
        {order.length === 0 && <p class="empty">No text passes the filters.</p>}
      </div>
      {opened !== null && <Whole text={scoring.texts[opened] ?? ""} row={opened + 1} isCut={scoring.truncated[opened] === 1} onClose={() => setOpened(null)} />}
    </>
  );
}

function Header({ by, name, sort, onSort }: { by: string; name: string; sort: Sort; onSort(sort: Sort): void }) {
  const isOn = sort.by === by;
  const next = { by, down: isOn ? !sort.down : by !== "row" };
  return (
    <th scope="col" class={by === "row" ? "row" : ""} aria-sort={isOn ? (sort.down ? "descending" : "ascending") : "none"}>
      <button type="button" onClick={() => onSort(next)}>
        {name}
        <span aria-hidden="true">{isOn ? (sort.down ? " ↓" : " ↑") : ""}</span>
      </button>
    </th>
  );
}

/** Height for rows that are not there. */
function Space({ rows, columns }: { rows: number; columns: number }) {
  return (
    <tr aria-hidden="true" class="space">
      <td colSpan={columns} style={{ height: `${rows * ROW_PX}px` }} />
    </tr>
  );
}

const SHOWN_MAX = 5_000;

function Whole({ text, row, isCut, onClose }: { text: string; row: number; isCut: boolean; onClose(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="whole-title">
      <h2 id="whole-title">Text {row}</h2>
      <p class="whole" dir="auto">
        {text.slice(0, SHOWN_MAX)}
        {text.length > SHOWN_MAX && " …"}
      </p>
      {isCut && <p class="detail">The model read only the beginning of it.</p>}
      <form method="dialog">
        <button class="primary">Close</button>
      </form>
    </dialog>
  );
}
