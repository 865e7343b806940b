// Lines and CSV to rows, with what was wrong on the way.
import Papa from "papaparse";

/** Rows of cells. */
export interface Table {
  /** Where they come from, for people. */
  name: string;
  rows: string[][];
  /** What is wrong with single rows, the first ones of each kind. */
  problems: { row: number; detail: string }[];
  /** How many rows have something wrong. */
  broken: number;
  /** Whether rows were left out at the end. */
  isCut: boolean;
}

export const ROWS_MAX = 100_000;
export const FILE_BYTES_MAX = 64 * 1024 * 1024;
const PROBLEMS_MAX = 50;
/** Read at a time, so that the page answers in between. */
const CHUNK_BYTES = 512 * 1024;
/** A character that no file has, in place of the quotation mark: quotes are then like any other character. */
const NO_QUOTE = "\u{F8FF}";

/** Each line that is not blank is a row of one cell. */
export function readLines(text: string, name: string): Table {
  const rows = text.split(/\r\n|\n|\r/).filter((line) => line.trim() !== "").map((line) => [line]);
  return { name, rows: rows.slice(0, ROWS_MAX), problems: [], broken: 0, isCut: rows.length > ROWS_MAX };
}

/** Reads a file of comma- (or semicolon-, or tab-) separated values by RFC 4180. Without `quotes`, a quotation mark is a character. */
export function readCsv(file: File, quotes: boolean): Promise<Table> {
  const table: Table = { name: file.name, rows: [], problems: [], broken: 0, isCut: false };
  const brokenRows = new Set<number>();
  const note = (row: number, detail: string): void => {
    if (!brokenRows.has(row) && table.problems.length < PROBLEMS_MAX) table.problems.push({ row: row + 1, detail });
    brokenRows.add(row);
  };
  return new Promise((resolve, reject) => {
    const finish = (): void => {
      checkRows(table, note);
      table.broken = brokenRows.size;
      resolve(table);
    };
    if (file.size > FILE_BYTES_MAX) return reject(new Error(`${file.name} has ${file.size.toLocaleString("en")} bytes; at most ${FILE_BYTES_MAX.toLocaleString("en")} are read here`));
    Papa.parse<string[]>(file, {
      chunkSize: CHUNK_BYTES,
      skipEmptyLines: "greedy",
      ...(quotes ? {} : { quoteChar: NO_QUOTE }),
      chunk({ data, errors }, parser) {
        for (const { type, row, message } of errors) if (type === "Quotes") note(table.rows.length + (row ?? 0), message);
        for (const row of data) table.rows.push(row);
        if (table.rows.length <= ROWS_MAX) return;
        table.rows.length = ROWS_MAX;
        table.isCut = true;
        parser.abort();
      },
      complete: finish,
      error: (error) => reject(new Error(`${file.name} cannot be read: ${error.message}`)),
    });
  });
}

/** Rows that are unlike the others: what a stray quotation mark leaves behind, or another encoding. */
function checkRows({ rows }: Table, note: (row: number, detail: string) => void): void {
  const widths = new Map<number, number>();
  for (const { length } of rows) widths.set(length, (widths.get(length) ?? 0) + 1);
  const [usual] = [...widths].sort((a, b) => b[1] - a[1])[0] ?? [0];
  rows.forEach((row, i) => {
    if (row.length !== usual) note(i, `${row.length} cells where most rows have ${usual}`);
    else if (row.some((cell) => cell.includes("\u{FFFD}"))) note(i, "characters that are not UTF-8");
  });
}

const TEXT_COLUMNS = /^(text|comment|comment_text|message|body|content|post|tweet|review)$/i;

/** Whether the first row names columns. */
export function hasHeader([first, ...rest]: string[][]): boolean {
  if (!first || rest.length === 0) return false;
  if (first.some((cell) => TEXT_COLUMNS.test(cell.trim()))) return true;
  const isName = (cell: string): boolean => /^[\p{L}_][\p{L}\p{N}_ .-]{0,39}$/u.test(cell.trim());
  return first.length > 1 && first.every(isName) && new Set(first).size === first.length;
}

/** The column that most likely has the texts: by its name, or by how much it holds. */
export function textColumn(rows: string[][], header: boolean): number {
  const named = header ? (rows[0] ?? []).findIndex((cell) => TEXT_COLUMNS.test(cell.trim())) : -1;
  if (named >= 0) return named;
  const lengths = (rows[0] ?? []).map((_, column) => rows.slice(0, 200).reduce((sum, row) => sum + (row[column]?.length ?? 0), 0));
  return Math.max(0, lengths.indexOf(Math.max(...lengths)));
}
