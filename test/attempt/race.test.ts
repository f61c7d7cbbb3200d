import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Racer, race } from '../../src/attempt/race.ts';
import { GatewayError, type Reason } from '../../src/errors.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const DELAY_MS = 100;

/** Commits, or fails, after so many milliseconds from the moment it begins. */
function racer(name: string, afterMs: number, reason?: Reason) {
  const own = {
    name,
    cancelled: 0,
    commit: () =>
      new Promise<void>((resolve, reject) => {
        setTimeout(() => (reason ? reject(new GatewayError(reason, name)) : resolve()), afterMs);
      }),
    cancel() {
      own.cancelled++;
    },
  };
  return own;
}

type TestRacer = Racer & { readonly name: string };

/** Run a race to its end; tells who won, who failed, when it was over and when the second one began. */
async function run(first: TestRacer, second?: TestRacer) {
  const began = performance.now();
  let secondAt: number | undefined;
  const isFinal = ({ reason }: GatewayError) => reason === 'provider_rejected';
  const racing = race(
    first,
    () => {
      secondAt = performance.now() - began;
      return second;
    },
    DELAY_MS,
    isFinal,
  ).then(({ winner, failures }) => ({
    winner: winner?.name,
    failed: failures.map(({ racer: { name } }) => name),
    tookMs: performance.now() - began,
  }));
  await vi.runAllTimersAsync();
  return { ...(await racing), secondAt };
}

describe('a race', () => {
  it('is won by the first alone when it commits before the delay', async () => {
    const second = racer('second', 0);
    expect(await run(racer('first', 99), second)).toEqual({
      winner: 'first',
      failed: [],
      tookMs: 99,
      secondAt: undefined,
    });
    expect(second.cancelled).toBe(0);
  });

  it('is lost at once when the first fails before the delay: then nobody is asked beside it', async () => {
    expect(await run(racer('first', 50, 'provider_unavailable'), racer('second', 0))).toEqual({
      winner: undefined,
      failed: ['first'],
      tookMs: 50,
      secondAt: undefined,
    });
  });

  it('is won by the quicker one, and the other is called off at once', async () => {
    for (const [firstMs, winner, tookMs] of [
      [500, 'second', 150],
      [120, 'first', 120],
    ] as const) {
      const first = racer('first', firstMs);
      const second = racer('second', 50);
      expect(await run(first, second)).toEqual({ winner, failed: [], tookMs, secondAt: DELAY_MS });
      expect([first.cancelled, second.cancelled]).toEqual(winner === 'first' ? [0, 1] : [1, 0]);
    }
  });

  it('goes on with the other one when one fails', async () => {
    for (const [first, second, winner, loser] of [
      [racer('first', 120, 'provider_timeout'), racer('second', 200), 'second', 'first'],
      [racer('first', 300), racer('second', 50, 'provider_timeout'), 'first', 'second'],
    ] as const) {
      expect(await run(first, second)).toMatchObject({ winner, failed: [loser], tookMs: 300 });
      expect([first.cancelled, second.cancelled]).toEqual([0, 0]);
    }
  });

  it('is lost when both fail, in the order in which they did', async () => {
    const first = racer('first', 500, 'provider_timeout');
    expect(await run(first, racer('second', 50, 'provider_unavailable'))).toMatchObject({
      winner: undefined,
      failed: ['second', 'first'],
      tookMs: 500,
    });
  });

  it('is over with a failure that is final, and the other is called off', async () => {
    const first = racer('first', 500);
    expect(await run(first, racer('second', 50, 'provider_rejected'))).toMatchObject({
      winner: undefined,
      failed: ['second'],
      tookMs: 150,
    });
    expect(first.cancelled).toBe(1);
  });

  it('goes on alone where there is no second', async () => {
    expect(await run(racer('first', 500))).toMatchObject({ winner: 'first', tookMs: 500, secondAt: DELAY_MS });
  });

  it('leaves no timer behind', async () => {
    const won = race(
      racer('first', 0),
      () => undefined,
      60_000,
      () => false,
    );
    await vi.advanceTimersByTimeAsync(1);
    await won;
    expect(vi.getTimerCount()).toBe(0);
  });
});
