import fc from 'fast-check';
import type { BucketLimit, Holding, Limit, LimitStore, Reservation, Taken, Used } from '../../src/store/store.ts';

/** A clock that a test sets. */
export interface TestClock {
  now: number;
}

/** Some time in 2026, well inside every period that tests use. */
export const SOME_TIME = 1_790_000_000_000;

/** One thing that happens to a store. */
export type Step =
  | { readonly do: 'take'; readonly limits: readonly Limit[] }
  | { readonly do: 'settle'; readonly which: number; readonly used: Used }
  | { readonly do: 'renew'; readonly which: number }
  | { readonly do: 'wait'; readonly ms: number };

const subjects = ['key:a', 'key:b', 'global'];

function bucket(kind: BucketLimit['kind'], subject: string, amount: number): Limit {
  const capacity = kind === 'requests' ? 5 : 1000;
  return { kind, subject, name: kind, capacity, refillPerMs: kind === 'requests' ? 0.003 : 1.7, amount };
}

const limits: fc.Arbitrary<readonly Limit[]> = fc
  .tuple(fc.constantFrom(...subjects), fc.integer({ min: 0, max: 1400 }), fc.nat({ max: 900 }), fc.nat({ max: 15 }))
  .map(([subject, tokens, nanoUsd, which]) =>
    [
      bucket('requests', subject, 1),
      bucket('tokens', subject, tokens),
      { kind: 'concurrent', subject, name: 'concurrent', capacity: 3, amount: 1 } as const,
      { kind: 'budget', subject, name: 'budget', capacity: 2000, periodMs: 60_000, amount: nanoUsd } as const,
    ].filter((_, index) => ((which + 1) & (1 << index)) !== 0),
  );

const used = fc.record({ tokens: fc.nat({ max: 1500 }), nanoUsd: fc.nat({ max: 1500 }) });

/** `backwards` also sets the clock back. */
export function trace({ backwards }: { backwards: boolean }): fc.Arbitrary<readonly Step[]> {
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 5, arbitrary: limits.map((each) => ({ do: 'take', limits: each }) as const) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('settle' as const), which: fc.nat({ max: 9 }), used }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('renew' as const), which: fc.nat({ max: 9 }) }) },
    {
      weight: 3,
      arbitrary: fc
        .oneof(
          fc.integer({ min: 0, max: 800 }),
          fc.integer({ min: 0, max: 40_000 }),
          fc.integer({ min: backwards ? -40_000 : 0, max: 0 }),
        )
        .map((ms) => ({ do: 'wait', ms }) as const),
    },
  );
  return fc.array(step, { maxLength: 40 });
}

/** What an answer says, without the reservation, whose id is the store's own. */
export function plain(taken: Taken): object {
  const { standings, admitted } = taken;
  const said = standings.map(({ limit, remaining, resetMs }) => [limit.subject, limit.name, remaining, resetMs]);
  return admitted
    ? { admitted, said, holds: taken.reservation !== undefined }
    : { admitted, said, by: [taken.refusedBy.subject, taken.refusedBy.name], waitMs: taken.waitMs };
}

/** Let a trace happen to a store; tells every answer, and how all limits stand in the end. */
export async function play(steps: readonly Step[], store: LimitStore, clock: TestClock): Promise<object[]> {
  const answers: object[] = [];
  const held: Reservation[] = [];
  const met = new Map<string, Limit>();
  for (const step of steps) {
    if (step.do === 'wait') clock.now += step.ms;
    else if (step.do === 'take') {
      for (const limit of step.limits) met.set(`${limit.subject} ${limit.name}`, { ...limit, amount: 0 });
      const taken = await store.take(step.limits);
      if (taken.admitted && taken.reservation) held.push(taken.reservation);
      answers.push(plain(taken));
    } else {
      const reservation = held.at(step.which % Math.max(held.length, 1));
      if (!reservation) continue;
      if (step.do === 'settle') store.settle(reservation, step.used);
      else store.renew([reservation]);
      await store.flush();
    }
  }
  const holdings: readonly Holding[] = await store.look([...met.values()]);
  answers.push(
    ...holdings.map(({ limit, remaining, resetMs, reserved }) => [limit.name, remaining, resetMs, reserved]),
  );
  return answers;
}
