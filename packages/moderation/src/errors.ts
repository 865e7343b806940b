// Everything that can go wrong, by what the caller does next.

/** Why something was refused. `code` tells the cases apart. */
export type Problem =
  /** The connection ended after as many bytes, or nothing answered at all (null): try again later. */
  | { code: "network"; url: string; received: number | null }
  /** The server answered with another status than 200. */
  | { code: "http"; url: string; status: number }
  /** What came is not what was asked for: the file on the server is another one, or it was changed on the way. */
  | { code: "digest"; url: string; expected: string; actual: string; received: number }
  /** The artefact is shorter or longer than it should be. */
  | { code: "length"; url: string; expected: number; received: number }
  /** The file has the right digest, and is no artefact all the same. */
  | { code: "artefact"; reason: string }
  /** The artefact speaks another version of the contract than this package. */
  | { code: "contract"; expected: string; found: string[] }
  /** This engine has no WebAssembly, or none with SIMD: only another browser helps. */
  | { code: "simd" }
  /** No SubtleCrypto, as on a page that came over plain HTTP: the artefact cannot be verified. */
  | { code: "insecure" }
  /** The browser gave no memory for the model. */
  | { code: "memory"; reason: string }
  /** The browser keeps no copy of the artefact, so the next visit fetches it again. Everything else works: this is a warning. */
  | { code: "quota"; reason: string }
  /** Split the batch. */
  | { code: "too-many-texts"; given: number; limit: number }
  /** Split the batch, or shorten its texts. Bytes of UTF-8. */
  | { code: "batch-too-large"; given: number; limit: number }
  /** Ask for labels of `description.labels`, each once. */
  | { code: "unknown-label"; label: string }
  | { code: "duplicate-label"; label: string }
  /** An argument is not what it should be. */
  | { code: "argument"; reason: string }
  /** The engine failed on one of the texts: try them one by one, and report this with the release's digest. */
  | { code: "engine"; reason: string }
  /** The worker did not start, or has ended. */
  | { code: "worker"; reason: string }
  /** The classifier was closed. */
  | { code: "closed" };

/** The codes alone. */
export type ProblemCode = Problem["code"];

/** What `load` and `classify` throw, but for a signal's own reason. `problem.code` tells what to do. */
export class ModerationError extends Error {
  override readonly name = "ModerationError";

  constructor(readonly problem: Problem) {
    super(wording(problem));
  }

  /** Which case it is. */
  get code(): ProblemCode {
    return this.problem.code;
  }
}

/** The case in a sentence: the object, what was expected, and the remedy. */
function wording(problem: Problem): string {
  switch (problem.code) {
    case "network":
      return problem.received === null
        ? `the artefact at ${problem.url} cannot be reached: is there a network, and does the server allow this page (CORS)?`
        : `the connection ended after ${problem.received} bytes of ${problem.url}: try again`;
    case "http":
      return `the request for ${problem.url} was answered with status ${problem.status}, not 200: is the artefact there?`;
    case "digest":
      return `the file at ${problem.url} has the SHA-256 ${problem.actual} (${problem.received} bytes), not ${problem.expected}: it is another file, or was damaged on the way`;
    case "length":
      return `the file at ${problem.url} has ${problem.received} bytes, not ${problem.expected}: it was cut, or is another file`;
    case "artefact":
      return `the file is no artefact: ${problem.reason}. Take one that \`palisade bake --simd strict\` made`;
    case "contract":
      return `the artefact exports ${problem.found.join(", ") || "nothing"}, not ${problem.expected}: package and artefact must be of the same version`;
    case "simd":
      return "this browser has no WebAssembly SIMD, which the classifier needs: Chrome and Edge have it from 91 on, Firefox from 89, Safari from 16.4";
    case "insecure":
      return "the artefact cannot be verified here: serve the page over HTTPS, or from localhost";
    case "memory":
      return `there is no memory for the model (${problem.reason}): close other tabs, or take the small release`;
    case "quota":
      return `the browser keeps no copy of the artefact (${problem.reason}): it works, and is fetched again next time`;
    case "too-many-texts":
      return `${problem.given} texts are too many for one call, which takes ${problem.limit}: split them`;
    case "batch-too-large":
      return `${problem.given} bytes are too many for one call, which takes ${problem.limit}: split the texts, or shorten them`;
    case "unknown-label":
      return `the release has no label ${JSON.stringify(problem.label)}: ask for one of description.labels`;
    case "duplicate-label":
      return `the label ${JSON.stringify(problem.label)} is asked for twice`;
    case "argument":
      return problem.reason;
    case "engine":
      return `the engine failed: ${problem.reason}. Try the texts one by one`;
    case "worker":
      return `the worker did not start, or has ended (${problem.reason}). Load again; where it never starts: does the Content-Security-Policy allow it, and is worker.js beside index.js? The option \`worker\` takes one that you made`;
    case "closed":
      return "the classifier was closed";
  }
}
