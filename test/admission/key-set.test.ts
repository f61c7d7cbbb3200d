import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { KeySet } from '../../src/admission/key-set.ts';

/** A set whose clock and loads a test holds. */
function keySet() {
  const state = { nowMs: 0, loads: 0, fails: false, lines: [] as string[] };
  const load = async () => {
    state.loads++;
    if (state.fails) throw new Error('no route to host');
    return { keys: [] };
  };
  const log = pino({}, { write: (line: string) => void state.lines.push(line) });
  return { state, set: new KeySet('https://idp.example', load, log, () => state.nowMs) };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('a key set', () => {
  it('is fetched once for all who ask at the same time, and then kept', async () => {
    const { state, set } = keySet();
    expect(state.loads).toBe(0);
    const all = await Promise.all([set.current(), set.current(), set.current()]);
    state.nowMs = 599_999;
    expect(new Set([...all, await set.current()]).size).toBe(1);
    expect(state.loads).toBe(1);
  });

  it('is renewed after ten minutes, and used as it is until the new one is there', async () => {
    const { state, set } = keySet();
    const old = await set.current();
    state.nowMs = 600_000;
    expect(await set.current()).toBe(old);
    await settled();
    expect(state.loads).toBe(2);
    expect(await set.current()).not.toBe(old);
  });

  it('is fetched for the sake of a key that it lacks once in half a minute', async () => {
    const { state, set } = keySet();
    const first = await set.current();
    state.nowMs = 29_999;
    expect(await set.newerThan(first)).toBeUndefined();
    state.nowMs = 30_000;
    const [second, same] = await Promise.all([set.newerThan(first), set.newerThan(first)]);
    expect(second).toBeDefined();
    expect(same).toBe(second);
    expect(await set.newerThan(first)).toBe(second);
    expect(await set.newerThan(second as typeof first)).toBeUndefined();
    expect(state.loads).toBe(2);
  });

  it('that cannot be fetched is an overload with the time of the next try, and left alone until then', async () => {
    const { state, set } = keySet();
    state.fails = true;
    const message =
      'the keys of the issuer https://idp.example cannot be fetched, so that its tokens cannot be checked now';
    await expect(set.current()).rejects.toMatchObject({ reason: 'overloaded', message, retryAfterMs: 5000 });
    state.nowMs = 4000;
    await expect(set.current()).rejects.toMatchObject({ retryAfterMs: 1000 });
    expect(state.loads).toBe(1);
    expect(state.lines).toHaveLength(1);
    state.fails = false;
    state.nowMs = 5000;
    expect(await set.current()).toBeDefined();
  });

  it('goes on being used for a day while its issuer is away, and no longer', async () => {
    const { state, set } = keySet();
    const old = await set.current();
    state.fails = true;
    state.nowMs = 24 * 3_600_000 - 1;
    expect(await set.current()).toBe(old);
    await settled();
    expect(state.loads).toBe(2);
    expect(await set.newerThan(old)).toBeUndefined();
    state.nowMs += 5000;
    await expect(set.current()).rejects.toMatchObject({ reason: 'overloaded' });
  });
});
