import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type InUse, Replaceable } from '../src/replaceable.ts';

function replaceable(first: string) {
  const retired: [string, readonly string[]][] = [];
  return { retired, things: new Replaceable(first, (old, inUse) => retired.push([old, inUse])) };
}

describe('something replaceable', () => {
  it('is the newest to those who come, and the same to those who have it', () => {
    const { things, retired } = replaceable('a');
    const early = things.take();
    things.replace('b');
    expect([early.value, things.take().value, things.current]).toEqual(['a', 'b', 'b']);
    expect(retired).toEqual([]);
  });

  it('is retired when the last of its users is done', () => {
    const { things, retired } = replaceable('a');
    const users = [things.take(), things.take()];
    things.replace('b');
    users[0]?.release();
    expect(retired).toEqual([]);
    users[1]?.release();
    expect(retired).toEqual([['a', ['b']]]);
  });

  it('is retired at once where nobody uses it', () => {
    const { things, retired } = replaceable('a');
    things.take().release();
    expect(retired).toEqual([]);
    things.replace('b');
    expect(retired).toEqual([['a', ['b']]]);
  });

  it('may be retired before one that is older', () => {
    const { things, retired } = replaceable('a');
    const early = things.take();
    things.replace('b');
    things.replace('c');
    expect(retired).toEqual([['b', ['a', 'c']]]);
    early.release();
    expect(retired[1]).toEqual(['a', ['c']]);
  });

  it('is retired once, never while it is used, and never the newest, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(2), { maxLength: 100 }), (steps) => {
        const using: InUse<number>[] = [];
        const retired: number[] = [];
        const things = new Replaceable(0, (old, inUse) => {
          expect(using.map(({ value }) => value)).not.toContain(old);
          expect(inUse).toContain(things.current);
          expect(inUse).not.toContain(old);
          retired.push(old);
        });
        for (const [at, step] of steps.entries()) {
          if (step === 0) things.replace(at + 1);
          else if (step === 1) using.push(things.take());
          else using.splice(at % Math.max(1, using.length), 1)[0]?.release();
        }
        for (let user = using.pop(); user; user = using.pop()) user.release();
        expect(new Set(retired).size).toBe(retired.length);
        expect(things.all()).toEqual([things.current]);
      }),
    );
  });
});
