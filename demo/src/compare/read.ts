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
/** Characters parsed at a time, so that the page answers in between. */
const CHUNK_LENGTH = 512 * 1024;
/** A character that no file has, in place of the quotation mark: quotes are then like any other character. */
const NO_QUOTE = "\u{F8FF}";

/** Reads a file: lines where its name says text, and else CSV. Without `quotes`, a quotation mark is a character. */
export async function readFile(file: File, quotes: boolean): Promise<Table> {
  if (file.size > FILE_BYTES_MAX) throw new Error(`${file.name} has ${file.size.toLocaleString("en")} bytes; at most ${FILE_BYTES_MAX.toLocaleString("en")} are read here`);
  const text = await decoded(file).catch((error: Error) => {
    throw new Error(`${file.name} cannot be read: ${error.message}`);
  });
  const table = isText(file) ? readLines(text, file.name) : await readCsv(text, file.name, quotes);
  if (table.rows.length === 0) throw new Error(`${file.name} has no rows`);
  return table;
}

/** Whether a file has a text in each line. */
export function isText({ name }: File): boolean {
  return /\.(txt|log)$/i.test(name);
}

/** By the byte order mark (spreadsheets write UTF-16 with one), or else as UTF-8. */
async function decoded(file: File): Promise<string> {
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const encoding = first === 0xff && second === 0xfe ? "utf-16le" : first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
  return new TextDecoder(encoding).decode(await file.arrayBuffer());
}

/** Each line that is not blank is a row of one cell. */
export function readLines(text: string, name: string): Table {
  const rows = text.split(/\r\n|\n|\r/).filter((line) => line.trim() !== "").map((line) => [line]);
  return checked({ name, rows: rows.slice(0, ROWS_MAX), isCut: rows.length > ROWS_MAX }, new Map());
}

/** Comma- (or semicolon-, or tab-) separated values by RFC 4180. */
function readCsv(text: string, name: string, quotes: boolean): Promise<Table> {
  const rows: string[][] = [];
  const problems = new Map<number, string>();
  let isCut = false;
  return new Promise((resolve) => {
    Papa.parse<string[]>(text, {
      chunkSize: CHUNK_LENGTH,
      skipEmptyLines: "greedy",
      ...(quotes ? {} : { quoteChar: NO_QUOTE }),
      chunk({ data, errors }: Papa.ParseResult<string[]>, parser: Papa.Parser) {
        for (const { type, row, message } of errors) {
          const at = rows.length + (row ?? 0);
          if (type === "Quotes" && !problems.has(at)) problems.set(at, message);
        }
        for (const row of data) rows.push(row);
        if (rows.length > ROWS_MAX) {
          rows.length = ROWS_MAX;
          isCut = true;
          parser.abort();
        } else {
          parser.pause();
          setTimeout(() => parser.resume());
        }
      },
      complete: () => resolve(checked({ name, rows, isCut }, problems)),
    });
  });
}

/** With the rows that are unlike the others too: what a stray quotation mark leaves behind, or another encoding. */
function checked({ name, rows, isCut }: Pick<Table, "name" | "rows" | "isCut">, problems: Map<number, string>): Table {
  const note = (row: number, detail: string): void => void (problems.has(row) || problems.set(row, detail));
  const widths = new Map<number, number>();
  for (const { length } of rows) widths.set(length, (widths.get(length) ?? 0) + 1);
  const [usual] = [...widths].sort((a, b) => b[1] - a[1])[0] ?? [0];
  rows.forEach((row, i) => {
    if (row.length !== usual) note(i, `${row.length} cells where most rows have ${usual}`);
    else if (row.some((cell) => cell.includes("\u{FFFD}"))) note(i, "characters that are not UTF-8");
  });
  const first = [...problems].slice(0, PROBLEMS_MAX).map(([row, detail]) => ({ row: row + 1, detail }));
  return { name, rows, problems: first, broken: problems.size, isCut };
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
