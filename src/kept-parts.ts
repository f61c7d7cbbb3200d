import { isDeepStrictEqual } from 'node:util';

/** Something that holds connections. */
interface Closable {
  close(): Promise<void>;
}

/** What a configuration has built that may be used on by the next one, by name, with the settings it was built from. */
export type KeptParts = ReadonlyMap<string, { readonly settings: unknown; readonly part: Closable }>;

/** Builds a part, unless there is one of that name that was built from the same settings. */
export type Keep = <Part extends Closable>(name: string, settings: unknown, build: () => Part) => Part;

/**
 * Build the parts of a configuration, and take over from the one before what has not changed: connections stay open, and what a
 * part has learnt stays known.
 */
export function keepParts(before: KeptParts | undefined): { readonly parts: KeptParts; readonly keep: Keep } {
  const parts = new Map<string, { settings: unknown; part: Closable }>();
  return {
    parts,
    keep<Part extends Closable>(name: string, settings: unknown, build: () => Part): Part {
      const known = before?.get(name);
      const kept = known && isDeepStrictEqual(known.settings, settings) ? known : { settings, part: build() };
      parts.set(name, kept);
      return kept.part as Part;
    },
  };
}

/** Close the parts of an old configuration that none of those still in use has. */
export async function closeUnused(old: KeptParts, inUse: readonly KeptParts[]): Promise<void> {
  const used = new Set(inUse.flatMap((parts) => [...parts.values()].map(({ part }) => part)));
  await Promise.all([...old.values()].filter(({ part }) => !used.has(part)).map(({ part }) => part.close()));
}
