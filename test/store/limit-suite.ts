import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type {
  BudgetLimit,
  ConcurrencyLimit,
  Limit,
  LimitStore,
  Reservation,
  Taken,
  Used,
} from '../../src/store/store.ts';
import { SOME_TIME, type Step, type TestClock, trace } from './trace.ts';

export const LEASE_MS = 20_000;
const PERIOD_MS = 3_600_000;

/** What a suite needs of a store: one of its own for each test, on the test's clock. */
export type OpenLimitStore = (clock: TestClock) => Promise<LimitStore> | LimitStore;

export function requests(amount = 1, more: Partial<Limit> = {}): Limit {
  return {
    kind: 'requests',
    subject: 'key:a',
    name: 'requests',
    capacity: 10,
    refillPerMs: 0.001,
    amount,
    ...more,
  } as Limit;
}

export function tokens(amount: number, more: Partial<Limit> = {}): Limit {
  return {
    kind: 'tokens',
    subject: 'key:a',
    name: 'tokens',
    capacity: 1000,
    refillPerMs: 0.1,
    amount,
    ...more,
  } as Limit;
}

export function slots(capacity: number): ConcurrencyLimit {
  return { kind: 'concurrent', subject: 'key:a', name: 'concurrent', capacity, amount: 1 };
}

export function budget(amount: number, capacity = 450): BudgetLimit {
  return { kind: 'budget', subject: 'key:a', name: 'budget', capacity, periodMs: PERIOD_MS, amount };
}

/** The reservation of a call that is let in. */
export function admitted(taken: Taken): Reservation {
  if (!taken.admitted) throw new Error(`refused by ${taken.refusedBy.name} for ${taken.waitMs} ms`);
  if (!taken.reservation) throw new Error('the call holds nothing');
  return taken.reservation;
}

/** What every store of limits does. */
export function limitSuite(name: string, open: OpenLimitStore, runs = 200): void {
  describe(name, () => {
    let clock: TestClock;
    let store: LimitStore;

    beforeEach(async () => {
      clock = { now: SOME_TIME };
      store = await open(clock);
    });
    afterEach(() => store.close());

    async function remaining(...limits: Limit[]): Promise<number[]> {
      await store.flush();
      return (await store.look(limits)).map((holding) => Math.round(holding.remaining * 1000) / 1000);
    }

    async function reserved(...limits: Limit[]): Promise<number[]> {
      await store.flush();
      return (await store.look(limits)).map((holding) => holding.reserved);
    }

    async function settle(reservation: Reservation, used: { tokens?: number; nanoUsd?: number }): Promise<void> {
      store.settle(reservation, { tokens: 0, nanoUsd: 0, ...used });
      await store.flush();
    }

    describe('a token bucket', () => {
      it('starts full and refuses what is beyond', async () => {
        for (let call = 0; call < 10; call++) expect((await store.take([requests()])).admitted).toBe(true);
        const refused = await store.take([requests()]);
        expect(refused).toMatchObject({ admitted: false, waitMs: 1000 });
        expect(refused.standings).toMatchObject([{ remaining: 0, resetMs: 10_000 }]);
      });

      it('refills all the time, and a caller who waits as long as was said is let in', async () => {
        await store.take([requests(10)]);
        clock.now += 700;
        const refused = await store.take([requests()]);
        expect(refused).toMatchObject({ admitted: false });
        if (!refused.admitted) clock.now += Math.ceil(refused.waitMs);
        expect((await store.take([requests()])).admitted).toBe(true);
      });

      it('never holds more than its capacity', async () => {
        await store.take([requests()]);
        clock.now += 1e9;
        expect(await remaining(requests(0))).toEqual([10]);
      });

      it('lets a call that wants more than there ever is wait forever', async () => {
        expect(await store.take([requests(11)])).toMatchObject({ admitted: false, waitMs: Number.POSITIVE_INFINITY });
      });

      it('does not come back where nothing refills it', async () => {
        const limit = requests(10, { refillPerMs: 0 });
        const taken = await store.take([limit]);
        expect(taken.standings).toMatchObject([{ resetMs: Number.POSITIVE_INFINITY }]);
        clock.now += 1e6;
        expect(await store.take([limit])).toMatchObject({ admitted: false, waitMs: Number.POSITIVE_INFINITY });
      });

      it('takes a smaller capacity on at once and a larger one as it refills', async () => {
        await store.take([requests(4)]);
        expect(await remaining(requests(0, { capacity: 3 }))).toEqual([3]);
        await store.take([requests(1, { capacity: 3 })]);
        expect(await remaining(requests(0, { capacity: 100 }))).toEqual([2]);
        clock.now += 2000;
        expect(await remaining(requests(0, { capacity: 100 }))).toEqual([4]);
      });

      it('counts each name of each subject by itself', async () => {
        await store.take([requests(10)]);
        expect((await store.take([requests(10, { subject: 'key:b' })])).admitted).toBe(true);
        expect((await store.take([requests(10, { name: 'other' })])).admitted).toBe(true);
      });

      it('refills nothing and loses nothing when the clock is set back', async () => {
        await store.take([requests(6)]);
        clock.now -= 3_600_000;
        expect(await remaining(requests(0))).toEqual([4]);
        expect((await store.take([requests(4)])).admitted).toBe(true);
        clock.now += 2000;
        expect(await remaining(requests(0))).toEqual([2]);
      });
    });

    describe('a call', () => {
      it('takes from all limits or from none', async () => {
        const refused = await store.take([requests(), tokens(2000), slots(2), budget(100)]);
        expect(refused).toMatchObject({ admitted: false, refusedBy: { name: 'tokens' } });
        expect(await remaining(requests(0), tokens(0), slots(2), budget(0))).toEqual([10, 1000, 2, 450]);
        expect(await reserved(requests(0), tokens(0), slots(2), budget(0))).toEqual([0, 0, 0, 0]);
      });

      it('takes from the limits of several subjects at once', async () => {
        const global = requests(1, { subject: 'global', capacity: 1 });
        admitted(await store.take([slots(5), requests(), global]));
        const refused = await store.take([slots(5), requests(), global]);
        expect(refused).toMatchObject({ admitted: false, refusedBy: { subject: 'global' } });
        expect(await remaining(slots(5), requests(0))).toEqual([4, 9]);
      });

      it('is refused by the limit that takes longest', async () => {
        await store.take([requests(10), tokens(1000)]);
        const refused = await store.take([requests(), tokens(500)]);
        expect(refused).toMatchObject({ admitted: false, refusedBy: { name: 'tokens' }, waitMs: 5000 });
      });

      it('holds nothing where it only counts', async () => {
        const taken = await store.take([requests()]);
        expect(taken).toMatchObject({ admitted: true, reservation: undefined });
      });

      it('is let in where there is no limit', async () => {
        expect(await store.take([])).toMatchObject({ admitted: true, standings: [] });
      });
    });

    describe('settling', () => {
      it('gives back the tokens that were not used, and not the call', async () => {
        const reservation = admitted(await store.take([requests(), tokens(800)]));
        expect(await reserved(tokens(0))).toEqual([800]);
        await settle(reservation, { tokens: 300 });
        expect(await remaining(requests(0), tokens(0))).toEqual([9, 700]);
        expect(await reserved(tokens(0))).toEqual([0]);
      });

      it('takes what was used beyond the reservation, down to one capacity below nothing', async () => {
        const first = admitted(await store.take([tokens(100)]));
        await settle(first, { tokens: 1500 });
        expect(await remaining(tokens(0))).toEqual([-500]);
        clock.now += 6000;
        const second = admitted(await store.take([tokens(100)]));
        await settle(second, { tokens: 99_999 });
        expect(await remaining(tokens(0))).toEqual([-1000]);
        expect(await store.take([tokens(1)])).toMatchObject({ admitted: false, waitMs: 10_010 });
      });

      it('gives back no more than fits', async () => {
        const reservation = admitted(await store.take([tokens(800)]));
        clock.now += 5000;
        await settle(reservation, { tokens: 0 });
        expect(await remaining(tokens(0))).toEqual([1000]);
      });

      it('frees the slot', async () => {
        const first = admitted(await store.take([slots(1)]));
        expect(await store.take([slots(1)])).toMatchObject({ admitted: false, refusedBy: { name: 'concurrent' } });
        await settle(first, {});
        admitted(await store.take([slots(1)]));
      });

      it('replaces what was reserved of a budget by what was spent', async () => {
        const reservation = admitted(await store.take([budget(100)]));
        expect(await remaining(budget(0))).toEqual([350]);
        await settle(reservation, { nanoUsd: 40 });
        expect(await remaining(budget(0))).toEqual([410]);
        expect(await reserved(budget(0))).toEqual([0]);
      });

      it('counts once, however often it is told', async () => {
        const reservation = admitted(await store.take([tokens(800), slots(2), budget(100)]));
        for (let time = 0; time < 3; time++) await settle(reservation, { tokens: 500, nanoUsd: 60 });
        expect(await remaining(tokens(0), slots(2), budget(0))).toEqual([500, 2, 390]);
      });
    });

    describe('a budget', () => {
      it('counts reservations against the limit, so that calls at once cannot overspend', async () => {
        const taken = await Promise.all(Array.from({ length: 100 }, () => store.take([budget(12)])));
        expect(taken.filter((each) => each.admitted)).toHaveLength(37);
      });

      it('tells the end of its period to a call that does not fit, and a second where others may give back', async () => {
        const reservation = admitted(await store.take([budget(400)]));
        expect(await store.take([budget(100)])).toMatchObject({ admitted: false, waitMs: 1000 });
        await settle(reservation, { nanoUsd: 400 });
        const untilEnd = PERIOD_MS - (clock.now % PERIOD_MS);
        expect(await store.take([budget(100)])).toMatchObject({ admitted: false, waitMs: untilEnd });
        expect(await store.look([budget(0)])).toMatchObject([{ resetMs: untilEnd }]);
      });

      it('begins anew with each period, less what calls still hold', async () => {
        await settle(admitted(await store.take([budget(400)])), { nanoUsd: 400 });
        const open = admitted(await store.take([budget(50)]));
        clock.now += PERIOD_MS - (clock.now % PERIOD_MS);
        store.renew([open]);
        expect(await remaining(budget(0))).toEqual([400]);
        await settle(open, { nanoUsd: 30 });
        expect(await remaining(budget(0))).toEqual([420]);
      });

      it('gets no period back by a clock that is set back', async () => {
        clock.now += PERIOD_MS - (clock.now % PERIOD_MS);
        await settle(admitted(await store.take([budget(400)])), { nanoUsd: 400 });
        clock.now -= 10;
        expect(await remaining(budget(0))).toEqual([50]);
      });

      it('is exact for amounts that fractions of a dollar are not', async () => {
        for (let call = 0; call < 10; call++) {
          await settle(admitted(await store.take([budget(100_000_001, 2e15)])), { nanoUsd: 100_000_001 });
        }
        expect(await remaining(budget(0, 2e15))).toEqual([2e15 - 1_000_000_010]);
      });
    });

    describe('a lease', () => {
      const all = [tokens(800), slots(1), budget(100)];

      it('returns everything once it is over', async () => {
        admitted(await store.take(all));
        clock.now += LEASE_MS - 1;
        expect(await reserved(...all)).toEqual([800, 1, 100]);
        clock.now += 1;
        expect(await remaining(...all)).toEqual([1000, 1, 450]);
        expect(await reserved(...all)).toEqual([0, 0, 0]);
        admitted(await store.take(all));
      });

      it('goes on when it is renewed', async () => {
        const reservation = admitted(await store.take(all));
        for (let time = 0; time < 5; time++) {
          clock.now += LEASE_MS - 1;
          store.renew([reservation]);
          await store.flush();
        }
        expect(await reserved(...all)).toEqual([800, 1, 100]);
      });

      it('that is over is taken up again', async () => {
        const reservation = admitted(await store.take(all));
        clock.now += LEASE_MS;
        expect(await reserved(...all)).toEqual([0, 0, 0]);
        store.renew([reservation]);
        expect(await reserved(...all)).toEqual([800, 1, 100]);
        expect(await remaining(...all)).toEqual([200, 0, 350]);
      });

      it('that is over does not keep a call from paying for what it used, once', async () => {
        const reservation = admitted(await store.take(all));
        clock.now += LEASE_MS;
        expect(await reserved(...all)).toEqual([0, 0, 0]);
        await settle(reservation, { tokens: 300, nanoUsd: 60 });
        await settle(reservation, { tokens: 300, nanoUsd: 60 });
        expect(await remaining(...all)).toEqual([700, 1, 390]);
      });

      it('cannot be renewed after settling', async () => {
        const reservation = admitted(await store.take(all));
        await settle(reservation, { tokens: 800, nanoUsd: 100 });
        store.renew([reservation]);
        expect(await reserved(...all)).toEqual([0, 0, 0]);
      });

      it('of one call is not that of another', async () => {
        admitted(await store.take([slots(2)]));
        clock.now += LEASE_MS / 2;
        admitted(await store.take([slots(2)]));
        clock.now += LEASE_MS / 2;
        expect(await reserved(slots(2))).toEqual([1]);
      });
    });

    it('admits no more than capacity and refill, whatever happens and however the clock goes', {
      timeout: 60_000,
    }, async () => {
      await fc.assert(
        fc.asyncProperty(trace({ backwards: true }), async (steps) => {
          const here = { now: SOME_TIME };
          const fresh = await open(here);
          try {
            await checkBounds(steps, fresh, here);
          } finally {
            await fresh.close();
          }
        }),
        { numRuns: runs },
      );
    });
  });
}

interface Call {
  readonly reservation: Reservation | undefined;
  readonly limits: readonly Limit[];
  expiresAt: number;
  /** Whether its lease may have been over: then it may have given back everything. */
  lapsed: boolean;
  used: Used | undefined;
}

/** Play a trace, and hold whenever a call is let in that calls together have no more than there was. */
async function checkBounds(steps: readonly Step[], store: LimitStore, clock: TestClock): Promise<void> {
  const calls: Call[] = [];
  let elapsed = 0;
  for (const step of steps) {
    if (step.do === 'wait') {
      clock.now += step.ms;
      elapsed += Math.max(0, step.ms);
      for (const call of calls) call.lapsed ||= call.used === undefined && clock.now >= call.expiresAt;
    } else if (step.do === 'take') {
      const taken = await store.take(step.limits);
      if (!taken.admitted) continue;
      const { reservation } = taken;
      calls.push({ reservation, limits: step.limits, expiresAt: clock.now + LEASE_MS, lapsed: false, used: undefined });
      for (const limit of step.limits) expect(takenOf(limit, calls)).toBeLessThanOrEqual(most(limit, elapsed) + 1e-3);
    } else {
      const holding = calls.filter(({ reservation }) => reservation !== undefined);
      const call = holding.at(step.which % Math.max(holding.length, 1));
      if (!call?.reservation) continue;
      if (step.do === 'renew') {
        store.renew([call.reservation]);
        call.expiresAt = clock.now + LEASE_MS;
      } else {
        store.settle(call.reservation, step.used);
        call.used ??= step.used;
      }
      await store.flush();
    }
  }
}

function takenOf({ kind, subject, name }: Limit, calls: readonly Call[]): number {
  let sum = 0;
  for (const { limits, lapsed, used } of calls) {
    for (const limit of limits) {
      if (limit.subject !== subject || limit.name !== name) continue;
      if (kind === 'requests') sum += limit.amount;
      else if (lapsed) continue;
      else if (used === undefined) sum += limit.amount;
      else if (kind === 'tokens') sum += Math.min(limit.amount, used.tokens);
      else if (kind === 'budget') sum += Math.min(limit.amount, used.nanoUsd);
    }
  }
  return sum;
}

function most(limit: Limit, elapsed: number): number {
  if (limit.kind === 'concurrent') return limit.capacity;
  if (limit.kind === 'budget') return limit.capacity * (2 + elapsed / limit.periodMs);
  return limit.capacity + elapsed * limit.refillPerMs;
}
