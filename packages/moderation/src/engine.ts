// The component in this thread.
import { instantiate } from "./contract/classifier.js";
import type { Classification, Description, Error as ContractError, Options } from "./contract/interface.js";
import { CONTRACT } from "./component.js";
import { ModerationError, type Problem } from "./errors.js";

type Interface = typeof import("./contract/interface.js");

/** A module of one function that gives a vector: what validates it has SIMD. */
const SIMD = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, 0x03, 0x02, 0x01, 0x00, 0x0a, 0x0a, 0x01, 0x08,
  0x00, 0x41, 0x00, 0xfd, 0x0f, 0xfd, 0x62, 0x0b,
]);
/** What the glue calls. */
const EXPORTS = ["memory", "cabi_realloc", ...["describe", "classify"].flatMap((name) => [`${CONTRACT}#${name}`, `cabi_post_${CONTRACT}#${name}`])];

/** Throws where this engine cannot run an artefact, before anything is fetched. */
export function checkSupport(): void {
  if (typeof WebAssembly === "undefined" || !WebAssembly.validate(SIMD)) throw new ModerationError({ code: "simd" });
}

/** Compiles the core module of an artefact, and sees that it wants nothing and gives what the contract says. */
export async function compile(core: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  const module = await WebAssembly.compile(core).catch((error: unknown) => {
    throw new ModerationError(ofFailure(error, "artefact"));
  });
  const [wanted] = WebAssembly.Module.imports(module);
  if (wanted) throw new ModerationError({ code: "artefact", reason: `it imports ${wanted.module}.${wanted.name}, and must import nothing` });
  const given = new Set(WebAssembly.Module.exports(module).map(({ name }) => name));
  const missing = EXPORTS.find((name) => !given.has(name));
  if (missing) throw new ModerationError({ code: "artefact", reason: `its module does not export ${missing}` });
  return module;
}

/** One instance of a compiled artefact; a new one where a call of the last has trapped. */
export class Engine {
  private constructor(
    private readonly module: WebAssembly.Module,
    private instance: Interface,
    readonly description: Description,
  ) {}

  static async start(module: WebAssembly.Module): Promise<Engine> {
    const instance = await started(module);
    return new Engine(module, instance, called(() => instance.describe()));
  }

  /** Scores texts at once. */
  async classify(texts: string[], options: Options): Promise<Classification> {
    try {
      return this.instance.classify(texts, options);
    } catch (error) {
      if (!isContractError(error)) this.instance = await started(this.module);
      throw new ModerationError(isContractError(error) ? ofContract(error) : ofFailure(error, "engine"));
    }
  }
}

async function started(module: WebAssembly.Module): Promise<Interface> {
  try {
    return (await instantiate(() => module, {})).classifier;
  } catch (error) {
    throw new ModerationError(ofFailure(error, "artefact"));
  }
}

function called<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw new ModerationError(isContractError(error) ? ofContract(error) : ofFailure(error, "artefact"));
  }
}

function isContractError(error: unknown): error is ContractError {
  return typeof error === "object" && error !== null && "tag" in error;
}

function ofContract(error: ContractError): Problem {
  switch (error.tag) {
    case "unknown-label":
    case "duplicate-label":
      return { code: error.tag, label: error.val };
    case "too-many-texts":
    case "batch-too-large":
      return { code: error.tag, ...error.val };
    case "not-baked":
      return { code: "artefact", reason: "no release is inside: it is the engine before baking" };
    case "engine":
      return { code: "engine", reason: error.val };
  }
}

/** What the JavaScript engine threw. A lack of memory is told apart, for another release may help. */
function ofFailure(error: unknown, code: "artefact" | "engine"): Problem {
  const reason = error instanceof Error ? error.message : String(error);
  return { code: error instanceof RangeError || /out of memory|could not allocate/i.test(reason) ? "memory" : code, reason };
}
