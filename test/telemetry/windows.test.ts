import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Sketch } from '../../src/telemetry/sketch.ts';
import type { Ending } from '../../src/telemetry/tally.ts';
import { OTHER, type Times, Windows } from '../../src/telemetry/windows.ts';

const MINUTE = 60_000;
const SHARES = [
  ['p50', 0.5],
  ['p95', 0.95],
  ['p99', 0.99],
] as const;

/** A clock that a test turns, and windows that read it. */
function windowsAt(ms = 0) {
  const clock = { ms };
  return { clock, windows: new Windows(() => clock.ms) };
}

function ok(durationMs: number, more: Partial<Ending> = {}): Ending {
  return { outcome: 'ok', durationMs, ...more };
}

/** The same numbers in each run, evenly from 0 to 1 (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** The value at the rank, as everybody reads it off a sorted list. */
function exact(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

function expectClose(times: Times, values: readonly number[]): void {
  const sorted = [...values].sort((one, other) => one - other);
  expect(times.count).toBe(sorted.length);
  expect(times.least).toBe(sorted[0]);
  expect(times.most).toBe(sorted.at(-1));
  for (const [name, share] of SHARES) {
    const truth = exact(sorted, share);
    expect(Math.abs((times[name] ?? Number.NaN) - truth) / truth, `${name} of ${sorted.length}`).toBeLessThan(0.01);
  }
}

const distributions: [name: string, draw: (random: () => number) => number][] = [
  ['evenly spread from 1 ms to 2 minutes', (random) => 1 + random() * 119_999],
  ['bell-shaped on a logarithmic scale, around 800 ms', (random) => 800 * Math.exp(normal(random))],
  [
    'two humps, a cache at 5 ms and a slow model at 20 s',
    (random) => (random() < 0.7 ? 5 * Math.exp(0.3 * normal(random)) : 20_000 * Math.exp(0.1 * normal(random))),
  ],
];

describe('windows', () => {
  it.each(distributions)(
    'tell quantiles within a hundredth over windows that slide over 100,000 values, %s',
    (_name, draw) => {
      const { clock, windows } = windowsAt();
      const random = randomFrom(7);
      const values: { readonly minute: number; readonly value: number }[] = [];
      for (let index = 0; index < 100_000; index++) {
        clock.ms = (index * 1440 * MINUTE) / 100_000;
        const minute = Math.floor(clock.ms / MINUTE);
        const value = draw(random);
        values.push({ minute, value });
        windows.attempts('groq', 'a').add(windows.minute(), ok(value, { firstTokenMs: value / 2 }));
        if (index % 9_973 !== 0 || index === 0) continue;
        for (const asked of [1, 15, 60, 61, 240, 1440]) {
          const window = windows.over(asked);
          const begin = Math.round((clock.ms - window.coveredMs) / MINUTE);
          const within = values.filter((each) => each.minute >= begin).map((each) => each.value);
          expectClose(window.attempts('groq').duration, within);
          expectClose(
            window.attempts('groq').firstToken,
            within.map((each) => each / 2),
          );
        }
      }
    },
  );

  it('cover what was asked for, up to a minute more within the last hour and ten before it, and say so', () => {
    const { clock, windows } = windowsAt();
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1440 }), fc.integer({ min: 0, max: 3000 * MINUTE }), (asked, later) => {
        clock.ms = later;
        const { coveredMs } = windows.over(asked);
        const most = asked <= 60 ? asked + 1 : asked + 11;
        expect(coveredMs).toBeGreaterThanOrEqual(Math.min(later, asked * MINUTE));
        expect(coveredMs).toBeLessThanOrEqual(Math.min(later, most * MINUTE));
      }),
    );
  });

  it('have exactly what happened within the time that they cover, whenever it happened and was asked for', () => {
    const happenings = fc.array(
      fc.record({
        gapMs: fc.nat({ max: 40 * MINUTE }),
        value: fc.integer({ min: 1, max: 10_000 }),
        asked: fc.option(fc.integer({ min: 1, max: 1440 })),
      }),
      { minLength: 1, maxLength: 80 },
    );
    fc.assert(
      fc.property(happenings, (list) => {
        const { clock, windows } = windowsAt(123);
        const begun = clock.ms;
        const told: { readonly at: number; readonly value: number }[] = [];
        for (const { gapMs, value, asked } of list) {
          clock.ms += gapMs;
          told.push({ at: clock.ms, value });
          windows.calls.add(windows.minute(), ok(value));
          if (asked === null) continue;
          const window = windows.over(asked);
          const from = clock.ms - window.coveredMs;
          const within = told.filter(({ at }) => at >= from - 0.001 || from <= begun);
          const { tally, duration } = window.calls();
          expect(tally.requests).toBe(within.length);
          expect(duration.count).toBe(within.length);
          expect(tally.duration.sum).toBeCloseTo(
            within.reduce((sum, each) => sum + each.value, 0),
            3,
          );
        }
      }),
    );
  });

  it('count by outcome, reason, tokens, cost and cache, and add up models to providers', () => {
    const { windows } = windowsAt();
    const minute = windows.minute();
    const usage = { promptTokens: 10, completionTokens: 5, totalTokens: 15, cachedPromptTokens: 4, reasoningTokens: 2 };
    const full = { $typeName: 'llmgateway.v1.Usage' as const, estimated: false, ...usage };
    windows.attempts('groq', 'a').add(minute, ok(100, { usage: full, costUsd: 0.25 }));
    windows.attempts('groq', 'b').add(minute, ok(300));
    windows.attempts('groq', 'b').add(minute, { outcome: 'error', reason: 'provider_timeout', durationMs: 9 });
    windows.attempts('groq', 'b').add(minute, { outcome: 'error', reason: 'provider_timeout', durationMs: 9 });
    windows.attempts('groq', 'b').add(minute, { outcome: 'cancelled', reason: 'cancelled', durationMs: 9 });
    windows.attempts('gemini', 'c').add(minute, { outcome: 'refused', reason: 'provider_rejected', durationMs: 9 });

    const window = windows.over(5);
    expect(window.attempts('groq').tally).toMatchObject({
      requests: 5,
      succeeded: 2,
      failed: 2,
      refused: 0,
      cancelled: 1,
      promptTokens: 10,
      completionTokens: 5,
      cachedPromptTokens: 4,
      reasoningTokens: 2,
      costUsd: 0.25,
      unpriced: 1,
    });
    expect([...window.attempts('groq').tally.reasons]).toEqual([
      ['provider_timeout', 2],
      ['cancelled', 1],
    ]);
    expect(window.attempts('groq').duration).toMatchObject({ count: 2, mean: 200, least: 100, most: 300 });
    expect(window.attempts('groq', 'a').duration.mean).toBe(100);
    expect(window.pairs.map(({ provider, model }) => `${provider}/${model}`)).toEqual(['gemini/c', 'groq/a', 'groq/b']);
  });

  it('count what the cache answered as saved, not as spent', () => {
    const { windows } = windowsAt();
    windows.calls.add(0, ok(100, { costUsd: 0.5, cached: false }));
    windows.calls.add(0, ok(1, { costUsd: 0.5, cached: true }));
    windows.calls.add(0, ok(100));
    expect(windows.over(1).calls().tally).toMatchObject({
      costUsd: 0.5,
      savedUsd: 0.5,
      cacheHits: 1,
      cacheMisses: 1,
      unpriced: 1,
    });
  });

  it('have no quantiles where nothing succeeded', () => {
    const { windows } = windowsAt();
    windows.calls.add(0, { outcome: 'error', reason: 'internal', durationMs: 5 });
    const nothing = {
      count: 0,
      mean: undefined,
      least: undefined,
      most: undefined,
      p50: undefined,
      p95: undefined,
      p99: undefined,
    };
    expect(windows.over(60).calls().duration).toEqual(nothing);
    expect(windows.over(60).attempts('nobody').duration).toEqual(nothing);
  });

  it('tell values of one kind as they are, though they fall into a bin', () => {
    const { windows } = windowsAt();
    for (let index = 0; index < 10; index++) windows.calls.add(0, ok(1234.5));
    expect(windows.over(1).calls().duration).toMatchObject({ p50: 1234.5, p95: 1234.5, p99: 1234.5, mean: 1234.5 });
  });

  it('count pairs beyond 500 together, and forget those that nothing happens to for a day', () => {
    const { clock, windows } = windowsAt();
    for (let index = 0; index < 600; index++) windows.attempts('p', `m${index}`).add(0, ok(1));
    expect(windows.over(1).pairs.length).toBe(501);
    expect(windows.over(1).attempts(OTHER).tally.requests).toBe(100);

    clock.ms = 1500 * MINUTE;
    windows.attempts('p', 'new').add(windows.minute(), ok(1));
    expect(windows.over(1440).pairs).toEqual([{ provider: 'p', model: 'new' }]);
  });

  it('keep a busy day of 20 pairs in less than 64 MB', () => {
    const { clock, windows } = windowsAt();
    const random = randomFrom(3);
    const values = Array.from({ length: 50_000 }, () => 1_000 * Math.exp(1.2 * normal(random)));
    const before = memoryBytes();
    let next = 0;
    for (let minute = 0; minute < 1500; minute++) {
      clock.ms = minute * MINUTE;
      for (let pair = 0; pair < 20; pair++) {
        const timeline = windows.attempts(`provider-${pair % 5}`, `model-${pair}`);
        for (let call = 0; call < 100; call++) {
          const value = values[next++ % values.length] ?? 1;
          timeline.add(minute, ok(value, { firstTokenMs: value / 3, costUsd: 0.001 }));
        }
      }
    }
    const took = memoryBytes() - before;
    expect(windows.over(1440).attempts('provider-1').tally.requests).toBeGreaterThan(4 * 1440 * 100);
    expect(took / 2 ** 20).toBeLessThan(64);
    expect(took / 2 ** 20).toBeGreaterThan(1);
  }, 60_000);
});

describe('a sketch', () => {
  it('keeps counts that no word can hold', () => {
    const sketch = new Sketch();
    const million = new Sketch();
    for (let index = 0; index < 2 ** 20; index++) million.add(100);
    for (let index = 0; index < 5; index++) sketch.merge(million);
    sketch.add(1);

    const again = new Sketch();
    again.merge(sketch.pack());

    expect(again.count).toBe(5 * 2 ** 20 + 1);
    expect(again.quantile(0.5)).toBeCloseTo(100, 0);
    expect(again.quantile(0)).toBeCloseTo(1, 1);
  });

  it.each([0, -1, 1e-9, 1e12, Number.POSITIVE_INFINITY])('takes %f', (value) => {
    const sketch = new Sketch();
    sketch.add(value);
    expect(sketch.quantile(0.5)).toBeGreaterThan(0);
  });
});

/** What is in use once all garbage is gone. */
function memoryBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
