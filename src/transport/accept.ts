/**
 * The media type that a client would rather have, among some; undefined: it takes none of them.
 *
 * Of those that it likes equally it gets the first one. No header: the first one, too.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#name-accept
 */
export function preferredType<Type extends string>(
  accept: string | undefined,
  types: readonly Type[],
): Type | undefined {
  if (accept === undefined || accept.trim() === '') return types[0];
  const ranges = accept.split(',').map(readRange);
  let best: Type | undefined;
  let most = 0;
  for (const type of types) {
    const fitting = ranges
      .filter(({ range }) => fits(range, type))
      .sort((one, other) => other.range.length - one.range.length);
    // The range that says most decides, whatever a wider one says.
    const quality = fitting[0]?.quality ?? 0;
    if (quality > most) [best, most] = [type, quality];
  }
  return best;
}

function readRange(text: string): { range: string; quality: number } {
  const [range = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase());
  const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
  const value = quality === undefined ? 1 : Number(quality);
  return { range, quality: Number.isFinite(value) ? value : 1 };
}

function fits(range: string, type: string): boolean {
  if (range === '*/*') return true;
  return range === type || (range.endsWith('/*') && type.startsWith(range.slice(0, -1)));
}
