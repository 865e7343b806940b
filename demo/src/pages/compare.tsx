// Many texts at once: a table, how scores are spread, filters, export.
import { judge, type Classifier, type Threshold } from "@palisade/moderation";
import Papa from "papaparse";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import sample from "../../comments.txt?raw";
import { Plot } from "../compare/plot";
import { hasHeader, isText, readFile, readLines, ROWS_MAX, textColumn, type Table } from "../compare/read";
import { begun, histogram, score, type Outcome, type Scoring } from "../compare/scoring";
import { ScoreTable, type Sort } from "../compare/table";
import { isAbort, type Model } from "../model";
import { download } from "../parts/download";
import { focusMain, focusNew } from "../parts/focus";
import { Notice } from "../parts/notice";
import { count, milliseconds, thresholds, title, VERDICTS } from "../words";

const BINS = 20;
/** Between redraws while scores arrive. */
const REDRAW_MS = 250;

export function Compare({ model }: { model: Model }) {
  const [table, setTable] = useState<Table | null>(null);
  const [file, setFile] = useState<File | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [reading, setReading] = useState(false);
  const shown = useRef(table);
  useLayoutEffect(() => {
    if (shown.current !== table) focusNew(); // what had the focus is gone
    shown.current = table;
  }, [table]);

  const open = async (file: File, quotes: boolean): Promise<void> => {
    setProblem(null);
    setReading(true);
    try {
      setTable(await readFile(file, quotes));
      setFile(isText(file) ? null : file);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      setReading(false);
    }
  };
  const paste = (text: string, name: string): void => {
    setProblem(null);
    setFile(null);
    const lines = readLines(text, name);
    if (lines.rows.length === 0) setProblem("There is no line with a text.");
    else setTable(lines);
  };

  return (
    <>
      <div class="lead">
        <h1>Compare many texts</h1>
        <p>Paste lines or drop a CSV. Thousands of texts are scored in this tab; none is sent anywhere.</p>
      </div>
      {problem && (
        <Notice kind="error" title="Nothing was read">
          {problem}
        </Notice>
      )}
      {table ? (
        <Scores
          key={`${table.name} ${table.rows.length} ${table.broken}`}
          table={table}
          model={model}
          onClose={() => setTable(null)}
          onWithoutQuotes={file ? () => void open(file, false) : null}
        />
      ) : (
        <Entrance onFile={(file) => void open(file, true)} onPaste={paste} reading={reading} />
      )}
    </>
  );
}

function Entrance({ onFile, onPaste, reading }: { onFile(file: File): void; onPaste(text: string, name: string): void; reading: boolean }) {
  const [over, setOver] = useState(false);
  const [text, setText] = useState("");
  const input = useRef<HTMLInputElement>(null);
  return (
    <div class="entrance">
      <div
        class={`card drop ${over ? "over" : ""}`}
        onDragOver={(event) => (event.preventDefault(), setOver(true))}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          const [file] = event.dataTransfer?.files ?? [];
          if (file) onFile(file);
        }}
      >
        <svg viewBox="0 0 24 24" width="32" height="32" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">
          <path d="M12 15V4M8 8l4-4 4 4M4 15v4h16v-4" />
        </svg>
        <p>
          <b>{reading ? "Reading…" : "Drop a CSV or text file here"}</b>
        </p>
        <p class="detail">up to {ROWS_MAX.toLocaleString("en")} rows and 64 MB</p>
        <button type="button" onClick={() => input.current?.click()} disabled={reading}>
          Choose a file
        </button>
        <input
          ref={input}
          type="file"
          class="hidden"
          accept=".csv,.tsv,.txt,text/csv,text/plain"
          aria-label="File"
          tabIndex={-1}
          onChange={({ currentTarget }) => {
            const [file] = currentTarget.files ?? [];
            if (file) onFile(file);
          }}
        />
      </div>
      <form class="card" onSubmit={(event) => (event.preventDefault(), onPaste(text, "pasted lines"))}>
        <label for="lines" class="field-name">
          Or paste texts, one a line
        </label>
        <textarea id="lines" rows={7} dir="auto" spellcheck={false} value={text} onInput={({ currentTarget }) => setText(currentTarget.value)} />
        <div class="buttons">
          <button type="submit" class="primary" disabled={text.trim() === ""}>
            Score the lines
          </button>
          <button type="button" onClick={() => onPaste(sample, "sample comments")}>
            Use the sample comments
          </button>
        </div>
      </form>
    </div>
  );
}

interface ScoresProperties {
  table: Table;
  model: Model;
  onClose(): void;
  onWithoutQuotes: (() => void) | null;
}

function Scores({ table, model, onClose, onWithoutQuotes }: ScoresProperties) {
  const classifier = model.state === "ready" ? model.classifier : null;
  const [header, setHeader] = useState(() => hasHeader(table.rows));
  const [column, setColumn] = useState(() => textColumn(table.rows, hasHeader(table.rows)));
  const texts = useMemo(() => table.rows.slice(header ? 1 : 0).map((row) => row[column] ?? ""), [table, header, column]);
  const { scoring, running, error, stop } = useScoring(classifier, texts);
  const limits = useMemo(() => (classifier ? thresholds(classifier.description.labels) : []), [classifier]);

  const [sort, setSort] = useState<Sort>({ by: "row", down: false });
  const [filter, setFilter] = useState<Filter>({ words: "", label: "", least: 0.5, verdict: "" });
  const verdicts = useVerdicts(scoring, limits);
  const done = scoring?.done ?? 0;
  const order = useMemo(() => (scoring ? ordered(scoring, verdicts, filter, sort) : new Int32Array()), [scoring, done, filter, sort, verdicts]);

  const names = table.rows[0]?.map((cell, i) => (header && cell.trim() ? cell : `Column ${i + 1}`)) ?? [];
  const save = (): void => {
    if (scoring && classifier) download("palisade-scores.csv", "text/csv", exported(table, header, scoring, order, verdicts, classifier));
  };
  const rate = scoring && scoring.milliseconds > 0 ? (done / scoring.milliseconds) * 1000 : 0;

  return (
    <>
      <Problems table={table} onWithoutQuotes={onWithoutQuotes} />
      {error && (
        <Notice kind="error" title="Scoring stopped">
          {error}
        </Notice>
      )}
      <section class="card" aria-labelledby="source-name">
        <div class="source">
          <div>
            <h2 id="source-name">{table.name}</h2>
            <p class="detail" role="status">
              {running
                ? `${done.toLocaleString("en")} of ${count(texts.length, "text")}, ${Math.round(rate)} a second`
                : `${count(done, "text")}${scoring && done > 0 ? ` in ${milliseconds(scoring.milliseconds)}` : ""}${done < texts.length && classifier ? `, stopped before ${(texts.length - done).toLocaleString("en")} more` : ""}`}
              {!classifier && model.state === "loading" && " Waiting for the model…"}
            </p>
          </div>
          <div class="buttons">
            {running && (
              <button type="button" onClick={() => (focusMain(), stop())}>
                Stop
              </button>
            )}
            <button type="button" onClick={save} disabled={order.length === 0}>
              Export CSV
            </button>
            <button type="button" class="quiet" onClick={onClose}>
              Other texts
            </button>
          </div>
        </div>
        <progress max={Math.max(1, texts.length)} value={done} aria-label="Texts scored" />
        {names.length > 1 && (
          <div class="filters">
            <label class="select small">
              <span>Text is in</span>
              <select value={column} onChange={({ currentTarget }) => setColumn(Number(currentTarget.value))}>
                {names.map((name, i) => (
                  <option value={i}>{name.slice(0, 40)}</option>
                ))}
              </select>
            </label>
            <label class="choice inline">
              <input type="checkbox" checked={header} onChange={({ currentTarget }) => setHeader(currentTarget.checked)} />
              <span>the first row has names</span>
            </label>
          </div>
        )}
        {scoring && (
          <div class="plots" role="group" aria-label="How the scores are spread">
            {scoring.labels.map((label, i) => {
              const threshold = limits.find((limit) => limit.label === label)?.review ?? null;
              return (
                <Plot
                  key={label}
                  label={label}
                  counts={histogram(scoring, i, BINS)}
                  threshold={threshold}
                  share={share(scoring, i, threshold)}
                  isOn={filter.label === label}
                  onPick={() => {
                    const isOn = filter.label === label;
                    setFilter({ ...filter, label: isOn ? "" : label, least: threshold ?? 0.5 });
                    setSort(isOn ? { by: "row", down: false } : { by: label, down: true });
                  }}
                />
              );
            })}
          </div>
        )}
      </section>
      {scoring && (
        <section class="card" aria-label="Texts">
          <Filters filter={filter} labels={scoring.labels} failed={scoring.failed.size} onChange={setFilter} shown={order.length} of={done} />
          <ScoreTable scoring={scoring} order={order} verdicts={verdicts} sort={sort} onSort={setSort} />
        </section>
      )}
    </>
  );
}

function Problems({ table, onWithoutQuotes }: { table: Table; onWithoutQuotes: (() => void) | null }) {
  return (
    <>
      {table.isCut && (
        <Notice kind="warning" title="Not everything was read">
          The first {count(ROWS_MAX, "row")} are here; split the file for the rest.
        </Notice>
      )}
      {table.broken > 0 && (
        <Notice kind="warning" title={`${count(table.broken, "row")} of ${table.rows.length.toLocaleString("en")} ${table.broken === 1 ? "looks" : "look"} broken`} action={onWithoutQuotes && { name: "Read again without quotes", run: onWithoutQuotes }}>
          {onWithoutQuotes && "A quotation mark that is never closed takes the following rows with it. "}The first: row {table.problems[0]?.row}, {table.problems[0]?.detail.toLowerCase()}.
          <details>
            <summary>Show the first {table.problems.length}</summary>
            <ul>
              {table.problems.map(({ row, detail }) => (
                <li>
                  Row {row}: {detail.toLowerCase()}
                </li>
              ))}
            </ul>
          </details>
        </Notice>
      )}
    </>
  );
}

interface Filter {
  words: string;
  label: string;
  least: number;
  verdict: Outcome | "";
}

function Filters({ filter, labels, failed, onChange, shown, of }: { filter: Filter; labels: string[]; failed: number; onChange(filter: Filter): void; shown: number; of: number }) {
  return (
    <div class="filters">
      <label class="select small">
        <span>Has</span>
        <input type="search" placeholder="words" value={filter.words} onInput={({ currentTarget }) => onChange({ ...filter, words: currentTarget.value })} />
      </label>
      <label class="select small">
        <span>Verdict</span>
        <select value={filter.verdict} onChange={({ currentTarget }) => onChange({ ...filter, verdict: currentTarget.value as Filter["verdict"] })}>
          <option value="">any</option>
          {Object.entries(VERDICTS).map(([verdict, name]) => (
            <option value={verdict}>{name}</option>
          ))}
          {failed > 0 && <option value="failed">Failed ({failed.toLocaleString("en")})</option>}
        </select>
      </label>
      <label class="select small">
        <span>Label</span>
        <select value={filter.label} onChange={({ currentTarget }) => onChange({ ...filter, label: currentTarget.value })}>
          <option value="">any</option>
          {labels.map((label) => (
            <option value={label}>{title(label)}</option>
          ))}
        </select>
      </label>
      {filter.label && (
        <label class="select small">
          <span>at least</span>
          <input type="number" min={0} max={1} step={0.01} value={filter.least} onInput={({ currentTarget }) => onChange({ ...filter, least: Number(currentTarget.value) })} />
        </label>
      )}
      <span class="detail" role="status">
        {shown === of ? count(of, "text") : `${shown.toLocaleString("en")} of ${count(of, "text")}`}
      </span>
    </div>
  );
}

/** Scores the texts, anew where they or the model change. */
function useScoring(classifier: Classifier | null, texts: string[]) {
  const [scoring, setScoring] = useState<Scoring | null>(null);
  const [running, setRunning] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const [, redraw] = useState({});
  const stale = useRef<AbortController | null>(null);
  useEffect(() => {
    if (!classifier) return;
    const mine = (stale.current = new AbortController());
    const next = begun(texts, classifier.description.labels.map(({ name }) => name));
    setScoring(next);
    setRunning(true);
    setError(null);
    let drawn = performance.now();
    const progress = (): void => {
      if (performance.now() - drawn < REDRAW_MS) return;
      drawn = performance.now();
      redraw({});
    };
    score(next, classifier, mine.signal, progress)
      .catch((error: Error) => !isAbort(error) && setError(error.message))
      .finally(() => stale.current === mine && (setRunning(false), redraw({})));
    return () => mine.abort();
  }, [classifier, texts]);
  const stop = useCallback(() => stale.current?.abort(), []);
  return { scoring, running, error, stop };
}

/** Verdicts of what is scored, by the release's thresholds. Grows with the scores. */
function useVerdicts(scoring: Scoring | null, limits: Threshold[]): Outcome[] {
  const kept = useRef<{ of: Scoring | null; verdicts: Outcome[] }>({ of: null, verdicts: [] });
  if (kept.current.of !== scoring) kept.current = { of: scoring, verdicts: [] };
  const { verdicts } = kept.current;
  if (scoring) {
    const { labels, scores, failed } = scoring;
    for (let i = verdicts.length; i < scoring.done; i += 1) {
      verdicts.push(failed.has(i) ? "failed" : judge(labels, scores.subarray(i * labels.length, (i + 1) * labels.length), limits).verdict);
    }
  }
  return verdicts;
}

const RANKS: Record<Outcome, number> = { failed: -1, allow: 0, review: 1, block: 2 };

function ordered(scoring: Scoring, verdicts: Outcome[], filter: Filter, sort: Sort): Int32Array {
  const { labels, scores, texts, failed, done } = scoring;
  const words = filter.words.trim().toLowerCase();
  const at = labels.indexOf(filter.label);
  const passing = new Int32Array(done);
  let length = 0;
  for (let i = 0; i < done; i += 1) {
    if (filter.verdict && verdicts[i] !== filter.verdict) continue;
    if (at >= 0 && (failed.has(i) || (scores[i * labels.length + at] ?? 0) < filter.least)) continue;
    if (words && !texts[i]?.toLowerCase().includes(words)) continue;
    passing[length] = i;
    length += 1;
  }
  const order = passing.slice(0, length);
  const sign = sort.down ? -1 : 1;
  const label = labels.indexOf(sort.by);
  const ranked = (i: number): number => (failed.has(i) ? -1 : (scores[i * labels.length + label] ?? 0));
  if (label >= 0) order.sort((a, b) => sign * (ranked(a) - ranked(b)) || a - b);
  else if (sort.by === "verdict") order.sort((a, b) => sign * (RANKS[verdicts[a] ?? "allow"] - RANKS[verdicts[b] ?? "allow"]) || a - b);
  else if (sort.down) order.reverse();
  return order;
}

/** Share of the scored texts at or above a threshold. */
function share({ scores, labels, failed, done }: Scoring, label: number, threshold: number | null): number {
  if (threshold === null) return 0;
  let scored = 0;
  let reached = 0;
  for (let i = 0; i < done; i += 1) {
    if (failed.has(i)) continue;
    scored += 1;
    if ((scores[i * labels.length + label] ?? 0) >= threshold) reached += 1;
  }
  return scored > 0 ? reached / scored : 0;
}

/** The texts in sight with everything that the file said of them; the cells of scores are empty where there are none. A cell that a spreadsheet would take for a formula gets an apostrophe. */
function exported(table: Table, header: boolean, scoring: Scoring, order: Int32Array, verdicts: Outcome[], classifier: Classifier): string {
  const { labels, scores, truncated, failed } = scoring;
  const { release } = classifier.description;
  const first = table.rows[0] ?? [];
  const names = header ? first : first.map((_, i) => (first.length === 1 ? "text" : `column_${i + 1}`));
  const rows = Array.from(order, (i) => [
    ...names.map((_, column) => table.rows[i + (header ? 1 : 0)]?.[column] ?? ""),
    verdicts[i],
    ...labels.map((_, at) => (failed.has(i) ? "" : String(Number((scores[i * labels.length + at] ?? 0).toPrecision(6))))),
    failed.has(i) ? "" : truncated[i] === 1,
    `${release.name} ${release.version}`,
    release.digest,
  ]);
  return Papa.unparse({ fields: [...names, "verdict", ...labels, "truncated", "release", "release_digest"], data: rows }, { newline: "\r\n", escapeFormulae: true });
}
