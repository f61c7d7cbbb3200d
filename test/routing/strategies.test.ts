import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RoutingStrategy } from '../../gen/llmgateway/v1/completion_pb.ts';
import { estimatedUsd, order, type Rated } from '../../src/routing/strategies.ts';
import { names, need, rated, seededRandom, sight } from './rated.ts';

const { ROUND_ROBIN, LEAST_LATENCY, LOWEST_COST, HIGHEST_QUALITY, RANDOM, FAILOVER, UNSPECIFIED } = RoutingStrategy;
const strategies = [ROUND_ROBIN, LEAST_LATENCY, LOWEST_COST, HIGHEST_QUALITY, RANDOM, FAILOVER];

describe('every strategy', () => {
  const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
  const usd = fc.double({ min: 0, max: 100, noNaN: true });
  const target = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    weight: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 10, noNaN: true })),
    quality: maybe(fc.double({ min: 0, max: 100, noNaN: true })),
    maxOutputTokens: maybe(fc.integer({ min: 1, max: 10_000 })),
    price: maybe(fc.record({ input: maybe(usd), output: maybe(usd) })),
    latencyCost: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1e13, noNaN: true })),
  });

  it('only changes the order', () => {
    const calls = fc.array(fc.array(target, { maxLength: 6 }), { maxLength: 5 });
    fc.assert(
      fc.property(fc.constantFrom(...strategies), calls, fc.nat(), (strategy, calls, seed) => {
        const costs = new Map<Rated, number>();
        const view = sight<Rated>({
          latencyCost: (target) => costs.get(target) ?? 0,
          need: () => need({ promptTokens: 1_000 }),
          random: seededRandom(seed),
        });
        for (const call of calls) {
          const given = call.map(({ name, price, latencyCost, ...more }) => {
            const target = rated(name, { ...more, ...(price && { price }) });
            costs.set(target, latencyCost);
            return target;
          });
          const before = [...given];
          const ordered = order(strategy, given, view);
          expect(given).toEqual(before);
          expect(ordered).toHaveLength(given.length);
          expect(new Set(ordered)).toEqual(new Set(given));
        }
      }),
    );
  });

  it('has nothing to look at where there is nothing to choose', () => {
    const turnless = { ...sight<Rated>(), turn: undefined as never };
    for (const strategy of strategies) {
      const [none, one] = [[], [rated('a')]];
      expect(order(strategy, none, turnless)).toBe(none);
      expect(order(strategy, one, turnless)).toBe(one);
    }
  });
});

describe('failover', () => {
  it('and no strategy keep the configured order', () => {
    const given = [rated('b', { weight: 0 }), rated('a')];
    expect(order(FAILOVER, given, sight())).toBe(given);
    expect(order(UNSPECIFIED, given, sight())).toBe(given);
  });
});

describe('round robin', () => {
  it('takes the next turn with each call', () => {
    const view = sight<Rated>();
    const given = [rated('a'), rated('b')];
    expect([1, 2, 3].map(() => names(order(ROUND_ROBIN, given, view)))).toEqual(['a b', 'b a', 'a b']);
  });

  it('spreads 3,000 calls over three equal targets evenly', () => {
    const view = sight<Rated>();
    const given = [rated('a'), rated('b'), rated('c')];
    const counts = Map.groupBy(Array(3_000), () => order(ROUND_ROBIN, given, view)[0]);
    expect([...counts.values()].map(({ length }) => length)).toEqual([1_000, 1_000, 1_000]);
  });
});

describe('random', () => {
  function orders(weights: readonly number[], calls: number): Map<string, number> {
    const given = weights.map((weight, index) => rated('abcdef'[index] ?? '', { weight }));
    const view = sight<Rated>({ random: seededRandom(20_260_101) });
    const counts = new Map<string, number>();
    for (let i = 0; i < calls; i++) {
      const key = names(order(RANDOM, given, view));
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
  }

  it('draws first, second and third by the weights of those that are left', () => {
    const calls = 60_000;
    const counts = orders([1, 2, 3], calls);
    const expected = {
      'a b c': (1 / 6) * (2 / 5),
      'a c b': (1 / 6) * (3 / 5),
      'b a c': (2 / 6) * (1 / 4),
      'b c a': (2 / 6) * (3 / 4),
      'c a b': (3 / 6) * (1 / 3),
      'c b a': (3 / 6) * (2 / 3),
    };
    let chiSquare = 0;
    for (const [key, share] of Object.entries(expected)) {
      chiSquare += ((counts.get(key) ?? 0) - share * calls) ** 2 / (share * calls);
    }
    // With five degrees of freedom; one seed of a thousand exceeds it by chance.
    expect(chiSquare).toBeLessThan(20.5);
  });

  it('puts those without weight last, as configured', () => {
    expect([...orders([0, 5, 0, 1e-300], 100).keys()]).toEqual(['b d a c']);
  });

  it('treats all alike where none has a weight', () => {
    const counts = orders([0, 0], 10_000);
    expect(Math.abs((counts.get('a b') ?? 0) - 5_000)).toBeLessThan(150);
  });

  it('copes with the smallest number there is', () => {
    const view = sight<Rated>({ random: () => 0 });
    expect(names(order(RANDOM, [rated('a', { weight: 0 }), rated('b'), rated('c')], view))).toBe('b c a');
  });
});

describe('least latency', () => {
  function ordered(costs: Record<string, number>, calls = 1): string[] {
    const given = Object.keys(costs).map((name) => rated(name));
    const view = sight<Rated>({ latencyCost: ({ model }) => costs[model] ?? 0 });
    return Array.from({ length: calls }, () => names(order(LEAST_LATENCY, given, view)));
  }

  it('goes by what one more call costs', () => {
    expect(ordered({ a: 300, b: 100, c: 200 }, 2)).toEqual(['b c a', 'b c a']);
  });

  it('lets those take turns that are equally quick', () => {
    expect(ordered({ a: 0, b: 0, c: 0 }, 3)).toEqual(['a b c', 'b c a', 'c a b']);
  });

  it('lets no slower one take part in them', () => {
    expect(ordered({ a: 500, b: 0, c: 100, d: 0 }, 3)).toEqual(['b d c a', 'd b c a', 'b d c a']);
  });
});

/** Five models; prices in USD for a million tokens, and so in millionths of a dollar for one. */
const priced: readonly Rated[] = [
  rated('pro', {
    price: { input: 1.25, output: 10, cachedInput: 0, tiers: [{ above: 200_000, input: 2.5, output: 15 }] },
  }),
  rated('mini', { price: { input: 0.4, output: 1.6 } }),
  rated('writer', { price: { input: 2, output: 1 }, maxOutputTokens: 500 }),
  rated('reader', { price: { input: 0.1, output: 4, tiers: [{ above: 200_000, input: 1, output: 8 }] } }),
  rated('scholar', {
    price: {
      input: 3,
      output: 12,
      tiers: [
        { above: 100_000, input: 1, output: 6 },
        { above: 200_000, input: 0.5, output: 2 },
      ],
    },
    maxOutputTokens: 8_000,
  }),
];

type Asked = readonly [prompt: number, output: number | undefined, n: number];

const bills: readonly (readonly [asked: Asked, order: string, millionths: readonly number[]])[] = [
  [[1_000, 1_000, 1], 'mini writer reader pro scholar', [2_000, 3_000, 4_100, 11_250, 15_000]],
  [[10_000, 100, 1], 'reader mini pro writer scholar', [1_400, 4_160, 13_500, 20_100, 31_200]],
  [[100_000, 10, 1], 'reader mini pro writer scholar', [10_040, 40_016, 125_100, 200_010, 300_120]],
  [[10, 1_000, 1], 'writer mini reader pro scholar', [1_020, 1_604, 4_001, 10_012.5, 12_030]],
  // Three answers: each is paid, the prompt once.
  [[100, 1_000, 3], 'writer mini reader pro scholar', [3_200, 4_840, 12_010, 30_125, 36_300]],
  // No length asked for: 1,024 tokens, and 500 of the writer that makes no more.
  [[1_000, undefined, 1], 'mini writer reader pro scholar', [2_038.4, 2_500, 4_196, 11_490, 15_288]],
  [[1_000, undefined, 4], 'writer mini reader pro scholar', [4_000, 6_953.6, 16_484, 42_210, 52_152]],
  [[0, 1_000, 1], 'writer mini reader pro scholar', [1_000, 1_600, 4_000, 10_000, 12_000]],
  [[1_000, 0, 1], 'reader mini pro writer scholar', [100, 400, 1_250, 2_000, 3_000]],
  [[2_000, 1_000, 1], 'mini reader writer pro scholar', [2_400, 4_200, 5_000, 12_500, 18_000]],
  [[2_000, 500, 2], 'mini reader writer pro scholar', [2_400, 4_200, 5_000, 12_500, 18_000]],
  [[4_000, 10_000, 1], 'mini writer reader pro scholar', [17_600, 18_000, 40_400, 105_000, 132_000]],
  [[20, 1, 1], 'reader mini pro writer scholar', [6, 9.6, 35, 41, 72]],
  // The scholar is dearest up to 100,000 tokens of prompt, and gets cheaper twice.
  [[100_000, 1_000, 1], 'reader mini pro writer scholar', [14_000, 41_600, 135_000, 201_000, 312_000]],
  [[100_001, 1_000, 1], 'reader mini scholar pro writer', [14_000.1, 41_600.4, 106_001, 135_001.25, 201_002]],
  [[150_000, 8_000, 2], 'reader mini scholar writer pro', [79_000, 85_600, 246_000, 316_000, 347_500]],
  // The reader is the cheapest up to 200,000, and ten times dearer above.
  [[200_000, 100, 1], 'reader mini scholar pro writer', [20_400, 80_160, 200_600, 251_000, 400_100]],
  [[200_001, 100, 1], 'mini scholar reader writer pro', [80_160.4, 100_200.5, 200_801, 400_102, 501_502.5]],
  [[300_000, 10_000, 8], 'mini scholar writer reader pro', [248_000, 310_000, 680_000, 940_000, 1_950_000]],
  [[250_000, undefined, 128], 'mini scholar writer reader pro', [309_715.2, 387_144, 564_000, 1_298_576, 2_591_080]],
];

describe('lowest cost', () => {
  const needed = ([promptTokens, outputTokens, n]: Asked) => need({ promptTokens, outputTokens, n });
  const ordered = (targets: readonly Rated[], asked: Asked) =>
    order(LOWEST_COST, targets, sight({ need: () => needed(asked) }));

  it.each(bills)('of %j has the order %s', (asked, expected, millionths) => {
    const result = ordered(priced, asked);
    expect(names(result)).toBe(expected);
    for (const [index, target] of result.entries()) {
      expect(estimatedUsd(target, needed(asked))).toBeCloseTo((millionths[index] ?? Number.NaN) / 1e6, 10);
    }
  });

  it('was told for twenty requests', () => {
    expect(bills.length).toBe(20);
  });

  it('puts those last whose price is unknown, in whole or in part, as configured', () => {
    const [unknown, half, other] = [rated('unknown'), rated('half', { price: { input: 0.001 } }), rated('other')];
    const given = [unknown, ...priced, half, other];
    const result = names(ordered(given, [1_000, 1_000, 1]));
    expect(result).toBe('mini writer reader pro scholar unknown half other');
    expect(estimatedUsd(half, need({ promptTokens: 1_000 }))).toBeUndefined();
  });

  it('needs no price of an answer where there is none, as with embeddings', () => {
    const given = [...priced, rated('embedder', { price: { input: 0.02 } })];
    expect(names(ordered(given, [1_000, 0, 1]))).toBe('embedder reader mini pro writer scholar');
  });

  it('puts what costs nothing first, and leaves equals as configured', () => {
    const given = [
      ...priced,
      rated('twin', { price: { input: 0.4, output: 1.6 } }),
      rated('free', { price: { input: 0, output: 0 } }),
    ];
    expect(names(ordered(given, [1_000, 1_000, 1]))).toBe('free mini twin writer reader pro scholar');
  });

  it('works out the need once', () => {
    let asked = 0;
    const view = sight<Rated>({
      need() {
        asked++;
        return need();
      },
    });
    order(LOWEST_COST, priced, view);
    expect(asked).toBe(1);
  });
});

describe('highest quality', () => {
  it.each<[order: string, scores: (number | undefined)[]]>([
    ['e d c b a', [1, 2, 3, 4, 5]],
    ['a b c d e', [5, 4, 3, 2, 1]],
    ['c a e b d', [80, 40, 90, 10, 60]],
    ['b d a e c', [70, 90, undefined, 85.5, 70]],
    ['a b c d e', [50, 50, 50, 50, 50]],
    ['a b c d e', [undefined, undefined, undefined, undefined, undefined]],
    ['e a b c d', [undefined, undefined, undefined, undefined, 1]],
    ['b a c d e', [undefined, 0, undefined, undefined, undefined]],
    ['c b a d e', [0, 1, 2, undefined, undefined]],
    ['b d a c e', [0, 100, 0, 100, 0]],
    ['d e a b c', [1, 1, 1, 2, 2]],
    ['e c a d b', [33.3, 33.1, 33.4, 33.2, 33.5]],
    ['a c e b d', [9, undefined, 9, undefined, 9]],
    ['d b e c a', [undefined, 62, 0.5, 99, 1]],
    ['b c d e a', [0, 0.1, 0.1, 0.1, 0.1]],
    ['a d b c e', [100, 20, 20, 99.9, 19.9]],
    ['c d b a e', [55, 56, 1000, 57, 54]],
    ['e b a c d', [7, 8, 7, undefined, 8.5]],
    ['a e b c d', [1e-9, undefined, undefined, undefined, 0]],
    ['d a b e c', [88, 87, undefined, 91, 86]],
  ])('has the order %s by %j', (expected, scores) => {
    const given = scores.map((quality, index) => rated('abcde'[index] ?? '', { quality }));
    expect(names(order(HIGHEST_QUALITY, given, sight()))).toBe(expected);
  });
});
