import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Course, type RetryPolicy, type Step } from '../../src/attempt/course.ts';
import type { Refusal } from '../../src/attempt/target-guard.ts';
import { GatewayError, type GatewayErrorOptions, type Reason } from '../../src/errors.ts';

const usual: RetryPolicy = {
  attemptsPerTarget: 2,
  attempts: 3,
  baseDelayMs: 100,
  maxDelayMs: 2_000,
  waitWhenLimited: false,
};

interface Setup extends Partial<RetryPolicy> {
  /** Context windows, one a target. */
  readonly windows?: readonly (number | undefined)[];
  readonly targets?: number;
  /** Retries that each target still allows; one number for all, or one each. */
  readonly budget?: number | readonly number[];
  /** How long targets stay closed that were found closed. */
  readonly closedMs?: readonly (number | undefined)[];
}

/** The course of a call over targets 0, 1, 2 … whose randomness lies in the middle. */
function courseOf({ windows, targets = 1, budget = 100, closedMs = [], ...policy }: Setup = {}) {
  const spent: number[] = [];
  const budgetOf = (at: number) => (typeof budget === 'number' ? budget : (budget[at] ?? 0));
  const stages = (windows ?? Array.from<undefined>({ length: targets })).map((contextWindow, at) => ({
    contextWindow,
    spend() {
      if (spent.filter((each) => each === at).length >= budgetOf(at)) return false;
      spent.push(at);
      return true;
    },
    closedMs: () => closedMs[at],
  }));
  const course = new Course(stages, { ...usual, ...policy }, () => 0.5);
  return {
    course,
    spent,
    next: (leftMs = Number.POSITIVE_INFINITY) => course.next(leftMs),
    fail(at: number, reason: Reason, more: GatewayErrorOptions & { anotherKey?: boolean } = {}) {
      course.begun(at);
      course.failed(at, failure(reason, more));
    },
  };
}

function failure(reason: Reason, { anotherKey = false, ...options }: GatewayErrorOptions & { anotherKey?: boolean }) {
  return Object.assign(new GatewayError(reason, 'made up', options), { anotherKey });
}

const tryAt = (at: number, afterMs = 0, retry = false): Step => ({ kind: 'try', at, afterMs, retry });
const end: Step = { kind: 'end' };
const limited = (retryAfterMs: number): Refusal => ({ why: 'rate_limited', retryAfterMs, busy: false, words: '' });
const open: Refusal = { why: 'circuit_open', retryAfterMs: 5_000, busy: false, words: '' };
const busy: Refusal = { why: 'rate_limited', retryAfterMs: 1_000, busy: true, words: '' };

describe('the course of a call', () => {
  it('begins with the first target, and is at its end without one', () => {
    expect(courseOf().next()).toEqual(tryAt(0));
    expect(courseOf({ targets: 0 }).next()).toEqual(end);
  });

  describe.each([
    ['a 5xx or a reset', 'provider_unavailable'],
    ['an answer that makes no sense', 'provider_protocol'],
  ] as const)('after %s', (_, reason) => {
    it('goes to the same target once more, and then to the next', () => {
      const { next, fail } = courseOf({ targets: 2 });
      expect(next()).toEqual(tryAt(0));
      fail(0, reason);
      expect(next()).toEqual(tryAt(0, 100, true));
      fail(0, reason);
      expect(next()).toEqual(tryAt(1));
      fail(1, reason);
      expect(next()).toEqual(end);
    });

    it('never takes the place of a target that has not been asked', () => {
      const { next, fail } = courseOf({ targets: 3 });
      const asked: unknown[] = [];
      for (let step = next(); step.kind === 'try'; step = next()) {
        asked.push([step.at, step.afterMs]);
        fail(step.at, reason);
      }
      expect(asked).toEqual([
        [0, 0],
        [1, 0],
        [2, 0],
      ]);
    });

    it('goes on to the next after one retry, and asks more often only in the second round', () => {
      const { next, fail } = courseOf({ targets: 2, attempts: 4, attemptsPerTarget: 3 });
      const asked: number[] = [];
      for (let step = next(); step.kind === 'try'; step = next()) {
        asked.push(step.at);
        fail(step.at, reason);
      }
      expect(asked).toEqual([0, 0, 1, 1]);
    });

    it('goes on at once when the budget is spent, and says that it was', () => {
      const { course, next, fail } = courseOf({ targets: 2, budget: 0 });
      next();
      fail(0, reason);
      expect(next()).toEqual(tryAt(1));
      expect(course.retriesSpent).toBe(true);
    });

    it('doubles its wait up to the bound', () => {
      const { next, fail } = courseOf({ attempts: 5, attemptsPerTarget: 5, baseDelayMs: 100, maxDelayMs: 250 });
      next();
      for (const afterMs of [100, 200, 250, 250]) {
        fail(0, reason);
        expect(next()).toEqual(tryAt(0, afterMs, true));
      }
    });

    it('does not begin a wait that would end after the deadline', () => {
      const { next, fail } = courseOf({ targets: 2 });
      next();
      fail(0, reason);
      expect(next(100)).toEqual(tryAt(1));
      fail(1, reason);
      expect(next(100)).toEqual(end);
    });
  });

  it('asks another one again when the budget of the soonest is spent', () => {
    const { next, fail } = courseOf({ targets: 2, attempts: 4, budget: [0, 1] });
    next();
    fail(0, 'provider_unavailable', { unsent: true });
    next();
    fail(1, 'provider_unavailable', { retryAfterMs: 1_000 });
    expect(next()).toEqual(tryAt(1, 1_055, true));
  });

  it('goes on at once from a port where nobody listens, and comes back only when all have been asked', () => {
    const { next, fail } = courseOf({ targets: 2 });
    next();
    fail(0, 'provider_unavailable', { unsent: true });
    expect(next()).toEqual(tryAt(1));
    fail(1, 'provider_timeout');
    expect(next()).toEqual(tryAt(0, 100, true));
  });

  it('never asks again where nothing would be different', () => {
    const { next, fail } = courseOf({ targets: 1, attempts: 10, attemptsPerTarget: 10 });
    next();
    fail(0, 'provider_unavailable', { unsent: true, lasting: true });
    expect(next()).toEqual(end);
  });

  it('never asks again who was silent once, not even alone', () => {
    for (const targets of [1, 2]) {
      const { next, fail } = courseOf({ targets, attempts: 10, attemptsPerTarget: 10 });
      for (let at = 0; at < targets; at++) {
        expect(next()).toEqual(tryAt(at));
        fail(at, 'provider_timeout');
      }
      expect(next()).toEqual(end);
    }
  });

  it.each(['provider_misconfigured', 'provider_quota'] as const)('goes on from %s, and never comes back', (reason) => {
    const { next, fail } = courseOf({ targets: 2, attempts: 10, attemptsPerTarget: 10 });
    next();
    fail(0, reason, { retryAfterMs: 10 });
    expect(next()).toEqual(tryAt(1));
    fail(1, reason);
    expect(next()).toEqual(end);
  });

  it('asks the one that recovers soonest when all have been asked', () => {
    const { next, fail } = courseOf({ targets: 3, attempts: 4 });
    next();
    fail(0, 'provider_rate_limited', { retryAfterMs: 3_000 });
    next();
    fail(1, 'provider_rate_limited', { retryAfterMs: 2_000 });
    next();
    fail(2, 'provider_timeout');
    // A twentieth more, since chance lies in the middle, and a little.
    expect(next()).toEqual(tryAt(1, 2_105, true));
  });

  describe('after a 429', () => {
    it('goes to the next target at once', () => {
      const { next, fail } = courseOf({ targets: 2 });
      next();
      fail(0, 'provider_rate_limited', { retryAfterMs: 10 });
      expect(next()).toEqual(tryAt(1));
    });

    it.each([
      [0, 5],
      [1_000, 1_055],
      [5_000, 5_255],
    ])('of the only target waits %i ms as it was told', (retryAfterMs, afterMs) => {
      const { next, fail } = courseOf();
      next();
      fail(0, 'provider_rate_limited', { retryAfterMs });
      expect(next()).toEqual(tryAt(0, afterMs, true));
    });

    it('of the only target waits a second if it was told nothing', () => {
      const { next, fail } = courseOf();
      next();
      fail(0, 'provider_rate_limited');
      expect(next()).toEqual(tryAt(0, 1_055, true));
    });

    it('ends where 5 s would not be enough, or the deadline comes first', () => {
      for (const [retryAfterMs, leftMs] of [
        [5_001, Number.POSITIVE_INFINITY],
        [1_000, 1_055],
      ]) {
        const { next, fail } = courseOf();
        next();
        fail(0, 'provider_rate_limited', { retryAfterMs });
        expect(next(leftMs)).toEqual(end);
      }
    });
  });

  it('waits for a 503 that says for how long, but only when all have been asked', () => {
    const { next, fail } = courseOf({ targets: 2 });
    next();
    fail(0, 'provider_unavailable', { retryAfterMs: 1_000 });
    expect(next()).toEqual(tryAt(1));
    fail(1, 'provider_timeout');
    expect(next()).toEqual(tryAt(0, 1_055, true));
  });

  describe('that waits for limited targets', () => {
    it('asks the same one again before the next', () => {
      const { next, fail } = courseOf({ targets: 2, waitWhenLimited: true });
      next();
      fail(0, 'provider_rate_limited', { retryAfterMs: 1_000 });
      expect(next()).toEqual(tryAt(0, 1_055, true));
      fail(0, 'provider_rate_limited', { retryAfterMs: 1_000 });
      expect(next()).toEqual(tryAt(1));
    });

    it('waits for one that is found limited, once, without taking from its budget', () => {
      const { course, next, spent } = courseOf({ targets: 2, waitWhenLimited: true });
      next();
      course.passedOver(0, limited(1_000));
      expect(next()).toEqual(tryAt(0, 1_055));
      course.passedOver(0, limited(1_000));
      expect(next()).toEqual(tryAt(1));
      expect(spent).toEqual([]);
    });

    it.each([
      ['more than 5 s', limited(5_001), Number.POSITIVE_INFINITY],
      ['longer than the call may take', limited(1_000), 1_000],
      ['for a breaker', open, Number.POSITIVE_INFINITY],
    ])('does not wait %s', (_, refusal, leftMs) => {
      const { course, next } = courseOf({ targets: 2, waitWhenLimited: true });
      next();
      course.passedOver(0, refusal);
      expect(next(leftMs)).toEqual(tryAt(1));
    });
  });

  it('asks the same target with its other key at once, without taking from its budget or its attempts', () => {
    const { next, fail, spent } = courseOf({ attempts: 3, attemptsPerTarget: 1, budget: 0 });
    next();
    fail(0, 'provider_misconfigured', { anotherKey: true });
    expect(next()).toEqual(tryAt(0, 0, true));
    fail(0, 'provider_rate_limited', { anotherKey: true });
    expect(next()).toEqual(tryAt(0, 0, true));
    fail(0, 'provider_rate_limited', { anotherKey: true });
    expect(next()).toEqual(end);
    expect(spent).toEqual([]);
  });

  describe('after a request that was too long', () => {
    it('goes only to targets with a larger or an unknown window', () => {
      const { next, fail } = courseOf({ windows: [8_000, 4_000, 8_000, undefined, 16_000], attempts: 5 });
      next();
      fail(0, 'context_length');
      expect(next()).toEqual(tryAt(3));
      fail(3, 'provider_timeout');
      expect(next()).toEqual(tryAt(4));
      fail(4, 'context_length');
      expect(next()).toEqual(end);
    });

    it('hedges only with such targets', () => {
      const { course, next, fail } = courseOf({ windows: [8_000, 16_000, 4_000, undefined], attempts: 4 });
      next();
      fail(0, 'context_length');
      expect(next()).toEqual(tryAt(1));
      course.begun(1);
      expect(course.takeHedge()).toBe(3);
    });
  });

  it('does not count a target that cannot take the request', () => {
    const { next, fail } = courseOf({ targets: 3, attempts: 1 });
    next();
    fail(0, 'provider_rejected', { unsupported: true });
    expect(next()).toEqual(tryAt(1));
    fail(1, 'provider_timeout');
    expect(next()).toEqual(end);
  });

  describe('past targets that cannot be asked', () => {
    it('goes on to the next one, and never waits where nobody could be asked', () => {
      const { course, next } = courseOf({ targets: 2, closedMs: [100, 100] });
      expect(next()).toEqual(tryAt(0));
      course.passedOver(0, open);
      expect(next()).toEqual(tryAt(1));
      course.passedOver(1, limited(100));
      expect(next()).toEqual(end);
    });

    it('comes back once all others have failed, if it takes no longer than the longest backoff', () => {
      for (const [closedMs, step] of [
        [2_000, tryAt(0, 2_105)],
        [2_001, end],
        [undefined, end],
      ] as const) {
        const { course, next, fail, spent } = courseOf({ targets: 2, closedMs: [closedMs] });
        next();
        course.passedOver(0, open);
        next();
        fail(1, 'provider_timeout');
        expect(next()).toEqual(step);
        expect(spent).toEqual([]);
      }
    });

    it('comes back as often as a target may be asked, and not beyond the deadline', () => {
      const { course, next, fail } = courseOf({ targets: 2, closedMs: [1_000] });
      next();
      course.passedOver(0, open);
      next();
      fail(1, 'provider_timeout');
      for (let wait = 0; wait < 2; wait++) {
        expect(next(1_056)).toEqual(tryAt(0, 1_055));
        course.passedOver(0, open);
      }
      expect(next()).toEqual(end);
    });

    it('does not wait for the deadline at a closed one', () => {
      const { course, next, fail } = courseOf({ targets: 2, closedMs: [1_000] });
      next();
      course.passedOver(0, open);
      next();
      fail(1, 'provider_timeout');
      expect(next(1_055)).toEqual(end);
    });

    it('does not come back to one whose window is too small', () => {
      const { course, next, fail } = courseOf({ windows: [4_000, 8_000], closedMs: [100] });
      next();
      course.passedOver(0, open);
      next();
      fail(1, 'context_length');
      expect(next()).toEqual(end);
    });

    // Limits of an organisation hold for all of its keys: they ate every attempt, and the next provider was never asked.
    it('takes another key only while that leaves an attempt for each target that was not asked', () => {
      const { next, fail } = courseOf({ targets: 2, attempts: 3 });
      next();
      fail(0, 'provider_rate_limited', { anotherKey: true });
      expect(next()).toEqual({ kind: 'try', at: 0, afterMs: 0, retry: true });
      fail(0, 'provider_rate_limited', { anotherKey: true });
      expect(next()).toEqual(tryAt(1));
    });

    it('waits in line for a place only when all others were asked, at one of those that were busy, once', () => {
      const { course, next, fail } = courseOf({ targets: 3, attempts: 10 });
      next();
      course.passedOver(0, busy);
      next();
      course.passedOver(1, busy);
      expect(next()).toEqual(tryAt(2));
      fail(2, 'provider_timeout');
      expect(next()).toEqual({ kind: 'queue', among: [0, 1] });
      course.passedOver(1, busy);
      expect(next()).toEqual(end);
    });

    it('does not wait in line when the time is over', () => {
      const { course, next } = courseOf();
      next();
      course.passedOver(0, busy);
      expect(next(0)).toEqual(end);
    });
  });

  it('gives the next target away to be asked beside the present one, and takes it back', () => {
    const { course, next } = courseOf({ targets: 3 });
    next();
    course.begun(0);
    expect(course.takeHedge()).toBe(1);
    course.untake(1);
    expect(course.takeHedge()).toBe(1);
    course.begun(1);
    course.failed(0, failure('provider_timeout', {}));
    course.failed(1, failure('provider_timeout', {}));
    expect(next()).toEqual(tryAt(2));
    course.begun(2);
    expect(course.takeHedge()).toBeUndefined();
  });

  it('keeps to its limits whatever happens', () => {
    const reasons: Reason[] = [
      'provider_unavailable',
      'provider_protocol',
      'provider_rate_limited',
      'provider_timeout',
      'provider_quota',
      'provider_misconfigured',
      'context_length',
    ];
    const what = fc.oneof(
      fc.record({
        error: fc.constantFrom(...reasons),
        retryAfterMs: fc.option(fc.integer({ min: 0, max: 8_000 }), { nil: undefined }),
        unsent: fc.boolean(),
      }),
      fc.record({ refusal: fc.constantFrom(open, busy, limited(100), limited(9_000)) }),
    );
    const setup = fc.record({
      targets: fc.integer({ min: 1, max: 4 }),
      attempts: fc.integer({ min: 1, max: 6 }),
      attemptsPerTarget: fc.integer({ min: 1, max: 3 }),
      budget: fc.integer({ min: 0, max: 3 }),
      waitWhenLimited: fc.boolean(),
      deadlineMs: fc.integer({ min: 0, max: 12_000 }),
      closedMs: fc.array(fc.option(fc.integer({ min: 0, max: 4_000 }), { nil: undefined }), { maxLength: 4 }),
    });
    fc.assert(
      fc.property(setup, fc.array(what, { minLength: 50, maxLength: 50 }), ({ deadlineMs, ...given }, happenings) => {
        const { course, fail, spent } = courseOf(given);
        const made = Array.from({ length: given.targets }, () => 0);
        const silent = new Set<number>();
        let nowMs = 0;
        let ended = false;
        for (const happening of happenings) {
          const step = course.next(deadlineMs - nowMs);
          if (step.kind === 'end') {
            ended = true;
            break;
          }
          const at = step.kind === 'try' ? step.at : (step.among[0] ?? -1);
          if (step.kind === 'try') {
            nowMs += step.afterMs;
            if (step.afterMs > 0) expect(nowMs).toBeLessThan(deadlineMs);
            if (step.retry) expect(made[at]).toBeGreaterThan(0);
            else expect(made[at]).toBe(0);
          }
          expect(silent).not.toContain(at);
          if ('refusal' in happening) {
            course.passedOver(at, happening.refusal);
            continue;
          }
          made[at] = (made[at] ?? 0) + 1;
          if (happening.error === 'provider_timeout') silent.add(at);
          fail(at, happening.error, happening);
        }
        expect(ended).toBe(true);
        expect(made.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(given.attempts);
        for (const [at, count] of made.entries()) {
          expect(count).toBeLessThanOrEqual(given.attemptsPerTarget);
          // What asks a target again is paid for, and nothing else.
          expect(spent.filter((each) => each === at).length).toBeGreaterThanOrEqual(Math.max(0, count - 1));
          expect(spent.filter((each) => each === at).length).toBeLessThanOrEqual(given.budget);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
