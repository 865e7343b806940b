// A component's binary, as far as it takes to run it: https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
import { ModerationError } from "./errors.js";

/** The interface that this package's glue was made for. */
export const CONTRACT = "palisade:moderation/classifier@0.2.0";

/** `\0asm`, version 13, layer 1. */
const PREAMBLE = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];
const CORE_MODULE = 1;
const COMPONENT = 4;
const EXPORTS = 11;

/** The one core module inside a component that exports the contract. It shares the component's memory. */
export function coreModule(component: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (component.length < PREAMBLE.length || PREAMBLE.some((byte, at) => component[at] !== byte)) {
    const start = new TextDecoder("latin1").decode(component.subarray(0, 16)).replace(/[^ -~]/g, "·");
    throw refused(`it begins with ${JSON.stringify(start)}, not as a component does`);
  }
  const modules: Uint8Array<ArrayBuffer>[] = [];
  const exported: string[] = [];
  const reader = new Reader(component, PREAMBLE.length);
  while (!reader.atEnd()) {
    const id = reader.byte();
    const content = reader.bytes(reader.number());
    if (id === CORE_MODULE) modules.push(content);
    if (id === EXPORTS) exported.push(...exportNames(content));
    // What wit-component puts around the module: a component that gives the exports their types, and has no code.
    if (id === COMPONENT && content.length > 65_536) throw refused("it has components inside");
  }
  if (!exported.includes(CONTRACT)) throw new ModerationError({ code: "contract", expected: CONTRACT, found: exported });
  const [only] = modules;
  if (modules.length !== 1 || !only) throw refused(`it has ${modules.length} core modules, not one`);
  return only;
}

/** Names in an export section. */
function exportNames(section: Uint8Array<ArrayBuffer>): string[] {
  const reader = new Reader(section, 0);
  const names = Array.from({ length: reader.number() }, () => {
    reader.byte(); // the kind of name
    const name = new TextDecoder().decode(reader.bytes(reader.number()));
    if (reader.byte() === 0) reader.byte(); // the sort; 0 is followed by that of the core
    reader.number(); // the index
    if (reader.byte() !== 0) throw refused("an export of it says its type");
    return name;
  });
  return names;
}

/** Reads a run of bytes from front to end. */
class Reader {
  constructor(
    private readonly content: Uint8Array<ArrayBuffer>,
    private at: number,
  ) {}

  atEnd(): boolean {
    return this.at === this.content.length;
  }

  byte(): number {
    const byte = this.content[this.at];
    if (byte === undefined) throw refused(`it ends after ${this.content.length} bytes, in the middle of a section`);
    this.at += 1;
    return byte;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const end = this.at + length;
    if (end > this.content.length) throw refused(`a section reaches to byte ${end}, and there are ${this.content.length}`);
    const bytes = this.content.subarray(this.at, end);
    this.at = end;
    return bytes;
  }

  /** An unsigned LEB128 of at most 32 bits. */
  number(): number {
    let number = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      number += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return number;
    }
    throw refused("a number in it has more than 32 bits");
  }
}

function refused(reason: string): ModerationError {
  return new ModerationError({ code: "artefact", reason });
}
