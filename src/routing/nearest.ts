/** The names most like the one asked for, nearest first; those that share nothing worth a mention are left out. */
export function nearest(asked: string, names: Iterable<string>, most = 3): string[] {
  const lower = asked.toLowerCase();
  return [...new Set(names)]
    .map((name) => ({ name, distance: distance(lower, name.toLowerCase()) }))
    .filter(({ name, distance: d }) => d <= Math.max(2, Math.ceil(Math.max(name.length, asked.length) * 0.6)))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, most)
    .map(({ name }) => name);
}

/** Levenshtein's edit distance; a name that contains the other is as near as one edit. */
function distance(a: string, b: string): number {
  if (a === b) return 0;
  if (a !== '' && (b.includes(a) || a.includes(b))) return 1;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, substitution));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
