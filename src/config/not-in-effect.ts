import type { Origin } from './findings.ts';

/**
 * Settings that are read and checked, and that nothing heeds yet. The work that brings one deletes its line.
 *
 * A row is a path without indices, which stands for all below it.
 */
const rows: readonly string[] = [];

/** One line for each setting that was given and is not in effect yet, named as it was given: in the file, or as a variable. */
export function noticesOf(given: readonly [path: string, origin: Origin][]): string[] {
  const notices = new Set<string>();
  for (const [path, { variable, text }] of given) {
    if (text === '[]' || text === '{}') continue;
    const plain = path.replaceAll(/\[[^\]]*\]/g, '[]');
    for (const setting of rows) {
      const isBelow = plain === setting || plain.startsWith(`${setting}.`) || plain.startsWith(`${setting}[`);
      if (isBelow) notices.add(`${variable ?? setting}: not in effect yet`);
    }
  }
  return [...notices];
}
