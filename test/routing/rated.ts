import type { Price } from '../../src/providers/target.ts';
import type { Need } from '../../src/routing/need.ts';
import type { Rated, Sight } from '../../src/routing/strategies.ts';
import { Turn } from '../../src/routing/turn.ts';

/** A target as strategies see it; its model is its name, too. */
export function rated(name: string, more: Partial<Rated> & { price?: Price } = {}): Rated {
  const { price, ...rest } = more;
  return {
    provider: { name },
    model: name,
    weight: 1,
    quality: undefined,
    maxOutputTokens: undefined,
    priceOf: (answered) => (answered === name ? price : undefined),
    ...rest,
  };
}

export function need(more: Partial<Need> = {}): Need {
  const nothing = { promptTokens: 0, windowTokens: 0, outputTokens: undefined, n: 1 };
  return { ...nothing, tools: false, vision: false, jsonSchema: false, ...more };
}

/** A view in which whatever a strategy has no business to look at throws. */
export function sight<T>(more: Partial<Sight<T>> = {}): Sight<T> {
  const forbidden = (what: string) => () => {
    throw new Error(`the strategy looks at ${what}`);
  };
  return {
    latencyCost: forbidden('the latency'),
    need: forbidden('the need'),
    random: forbidden('the dice'),
    turn: new Turn(),
    ...more,
  };
}

/** Numbers from 0 to 1 that look random and are the same in each run (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function names(targets: readonly Rated[]): string {
  return targets.map(({ model }) => model).join(' ');
}
