import { findProvider, type MatchLogic, type ModelInfo, type ModelPrice } from '@pydantic/genai-prices';
import type { Price, Rates } from '../../src/providers/target.ts';
import type { PublishedModel } from '../../src/routing/published-models.ts';

/** Their names of our rates. */
const rateNames = {
  input: 'input_mtok',
  output: 'output_mtok',
  cachedInput: 'cache_read_mtok',
  cacheWrite: 'cache_write_mtok',
  audioInput: 'input_audio_mtok',
  audioOutput: 'output_audio_mtok',
} as const satisfies Record<keyof Rates, string>;

/** With one of these, a rate depends on something that the gateway's usage does not count: then it is unknown. */
const uncounted: Partial<Record<keyof Rates, readonly string[]>> = {
  input: ['input_image_mtok', 'input_video_mtok'],
  output: ['output_image_mtok', 'output_video_mtok'],
};

/** The models that `@pydantic/genai-prices` has of a provider, in its order, which is the order of looking for one. */
export function publishedPrices(providerId: string): PublishedModel[] {
  const provider = findProvider({ providerId });
  if (provider?.id !== providerId) throw new Error(`genai-prices has no provider ${providerId}`);
  return provider.models.flatMap((model) => {
    const prices = pricesOf(model);
    if (prices.length === 0 && model.context_window === undefined) return [];
    return [
      {
        id: model.id,
        match: patternFrom(model.match),
        ...(prices.length > 0 && { prices }),
        ...(model.context_window !== undefined && { contextWindow: model.context_window }),
      },
    ];
  });
}

function pricesOf({ id, prices }: ModelInfo): NonNullable<PublishedModel['prices']> {
  const dated = Array.isArray(prices) ? prices : [{ prices }];
  const read = dated.map(({ prices, constraint }) => {
    if (constraint?.type === 'time_of_date') throw new Error(`${id} costs more at some hours, which has no place here`);
    return { ...(constraint && { from: constraint.start_date }), ...priceFrom(prices) };
  });
  return read.some(({ input, output }) => input !== undefined || output !== undefined) ? read : [];
}

function priceFrom(prices: ModelPrice): Price {
  const base: Record<string, number> = {};
  const tiers = new Map<number, Record<string, number>>();
  for (const [rate, name] of Object.entries(rateNames)) {
    const price = prices[name];
    if (price === undefined || uncounted[rate as keyof Rates]?.some((other) => other in prices)) continue;
    base[rate] = typeof price === 'number' ? price : price.base;
    if (typeof price === 'number') continue;
    for (const tier of price.tiers) tiers.set(tier.start, { ...tiers.get(tier.start), [rate]: tier.price });
  }
  if (tiers.size === 0) return base;
  // A tier holds for the whole call: what it does not change is as before.
  let before = base;
  const whole = [...tiers]
    .sort(([one], [other]) => one - other)
    .map(([above, rates]) => {
      before = { ...before, ...rates };
      return { above, ...before };
    });
  return { ...base, tiers: whole };
}

/** The pattern of a rule: one regular expression, to be read without regard to case. */
function patternFrom(rule: MatchLogic): string {
  if ('or' in rule) return rule.or.map(patternFrom).join('|');
  if ('and' in rule) return `^${rule.and.map((part) => `(?=.*(?:${patternFrom(part)}))`).join('')}`;
  if ('equals' in rule) return `^${literally(rule.equals)}$`;
  if ('starts_with' in rule) return `^${literally(rule.starts_with)}`;
  if ('ends_with' in rule) return `${literally(rule.ends_with)}$`;
  if ('contains' in rule) return literally(rule.contains);
  return rule.regex;
}

/** A text as a pattern of itself; `RegExp.escape` does the same and nobody could read the result. */
export function literally(text: string): string {
  return text.replaceAll(/[$()*+.?[\\\]^{|}]/g, '\\$&');
}
