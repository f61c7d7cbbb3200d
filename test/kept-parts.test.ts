import { describe, expect, it } from 'vitest';
import { closeUnused, type KeptParts, keepParts } from '../src/kept-parts.ts';

/** Builds parts that know what they were built from, and whether they are closed. */
function build(settings: Record<string, unknown>, before?: KeptParts) {
  const { parts, keep } = keepParts(before);
  const built = Object.entries(settings).map(([name, setting]) => keep(name, setting, () => part(setting)));
  return { parts, built };
}

function part(setting: unknown) {
  const self = {
    setting,
    closed: 0,
    async close() {
      self.closed++;
    },
  };
  return self;
}

describe('the parts of a configuration', () => {
  it('are those of the one before where their settings are the same, in whatever order', () => {
    const first = build({ a: { url: 'x', keys: ['1', '2'] }, b: { url: 'y' } });
    const second = build({ b: { url: 'z' }, a: { keys: ['1', '2'], url: 'x' }, c: { url: 'y' } }, first.parts);
    expect(second.built[1]).toBe(first.built[0]);
    expect(second.built[0]).not.toBe(first.built[1]);
    expect(second.built.map(({ setting }) => (setting as { url: string }).url)).toEqual(['z', 'x', 'y']);
  });

  it('are closed with it, but for those that others use', async () => {
    const first = build({ a: 1, b: 1, c: 1 });
    const second = build({ a: 1, b: 2 }, first.parts);
    const third = build({ c: 1 }, first.parts);
    await closeUnused(first.parts, [second.parts, third.parts]);
    expect(first.built.map(({ closed }) => closed)).toEqual([0, 1, 0]);
    await closeUnused(second.parts, [third.parts]);
    expect(second.built.map(({ closed }) => closed)).toEqual([1, 1]);
  });
});
