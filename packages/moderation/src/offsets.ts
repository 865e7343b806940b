// The contract counts bytes of UTF-8, JavaScript units of UTF-16.

/** The same parts of a text with offsets for `text.slice`, in the order given. */
export function toUtf16<Part extends { start: number; end: number }>(text: string, parts: readonly Part[]): Part[] {
  let unit = 0;
  let byte = 0;
  /** Parts follow one another, so the way to the next offset is short; backwards it starts anew. */
  const unitAt = (offset: number): number => {
    if (offset < byte) unit = byte = 0;
    while (byte < offset && unit < text.length) {
      const code = text.codePointAt(unit) ?? 0;
      byte += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x1_0000 ? 3 : 4;
      unit += code < 0x1_0000 ? 1 : 2;
    }
    return unit;
  };
  return parts.map((part) => ({ ...part, start: unitAt(part.start), end: unitAt(part.end) }));
}
