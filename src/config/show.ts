const MAX_SHOWN = 80;

/** A text as messages show it: quoted, escaped, and cut where it is long. */
export function show(text: string): string {
  return JSON.stringify(text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`);
}

/** `"a", "b" or "c"`, for the words that a setting may have. */
export function showChoice(words: readonly string[]): string {
  const last = words.at(-1) ?? '';
  return words.length < 2 ? last : `${words.slice(0, -1).join(', ')} or ${last}`;
}

/**
 * The end of a message about a name that nobody knows: what was probably meant, else what there is.
 *
 * Case, `-` and `_` do not count, so that `baseUrl` finds `base_url`.
 */
export function suggest(name: string, known: readonly string[]): string {
  const plain = plainly(name);
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(plain.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(plain, plainly(candidate));
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  if (best !== undefined) return `; did you mean "${best}"?`;
  return known.length === 0 ? '' : `; known: ${known.slice(0, 20).join(', ')}${known.length > 20 ? ', …' : ''}`;
}

function plainly(name: string): string {
  return name.toLowerCase().replaceAll(/[-_ ]/g, '').slice(0, MAX_SHOWN);
}

/** Levenshtein's distance, where a swap of neighbours is one edit too: `prot` is as near to `port` as `pot`. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      next[j] = Math.min(
        (next[j - 1] ?? 0) + 1,
        (row[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + (same ? 0 : 1),
        swapped ? (before[j - 2] ?? 0) + 1 : Infinity,
      );
    }
    [before, row] = [row, next];
  }
  return row[b.length] ?? 0;
}
