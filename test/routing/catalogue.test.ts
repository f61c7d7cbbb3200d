import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ListedModel, Provider } from '../../src/providers/provider.ts';
import { Catalogue, type ConfiguredModel } from '../../src/routing/catalogue.ts';
import type { ListName } from '../../src/routing/published-models.ts';

const lists: Readonly<Record<string, ListName>> = { gemini: 'gemini', main: 'openai', groq: 'groq' };

function catalogueOf(models: readonly (Partial<ConfiguredModel> & { id: string; provider: string })[] = []): Catalogue {
  return new Catalogue({
    providers: () => [],
    models: models.map((model) => ({ rates: {}, contextWindow: undefined, quality: undefined, ...model })),
    listOf: (provider) => lists[provider],
    freshMs: 30_000,
    timeoutMs: 1_000,
  });
}

describe('what is known of a model', () => {
  it('is what is published of it', () => {
    expect(catalogueOf().factsOf('groq', 'openai/gpt-oss-120b')).toMatchObject({
      price: { input: 0.15, output: 0.6, cachedInput: 0.075 },
      contextWindow: 131_072,
      maxOutputTokens: 65_536,
      capabilities: { tools: true, vision: false, jsonSchema: true, reasoning: true },
      quality: undefined,
    });
  });

  it.each([
    ['groq', 'nobody/knows-this'],
    ['elsewhere', 'gpt-4o'],
  ])('is nothing for %s %s, and never 0', (provider, id) => {
    const { price, contextWindow, capabilities } = catalogueOf().factsOf(provider, id);
    expect([price, contextWindow, capabilities]).toEqual([undefined, undefined, undefined]);
  });

  it('is first what the configuration says, field by field', () => {
    const catalogue = catalogueOf([
      { provider: 'groq', id: 'openai/gpt-oss-120b', rates: { output: 1 }, quality: 0.8 },
      { provider: 'gemini', id: 'gemini-2.5-pro', rates: { cachedInput: 0.01 }, contextWindow: 1_000 },
    ]);
    expect(catalogue.factsOf('groq', 'openai/gpt-oss-120b')).toMatchObject({
      price: { input: 0.15, output: 1, cachedInput: 0.075 },
      contextWindow: 131_072,
      quality: 0.8,
    });
    expect(catalogue.factsOf('gemini', 'gemini-2.5-pro')).toMatchObject({
      price: { input: 1.25, cachedInput: 0.01, tiers: [{ above: 200_000, input: 2.5, output: 15, cachedInput: 0.01 }] },
      contextWindow: 1_000,
    });
  });

  it('is free where the configuration says so, cached and long prompts too', () => {
    const catalogue = catalogueOf([{ provider: 'main', id: 'gpt-5.4', rates: { input: 0, output: 0 } }]);
    const { price } = catalogue.factsOf('main', 'gpt-5.4');
    expect(price).toMatchObject({ input: 0, output: 0, tiers: [{ input: 0, output: 0 }] });
    expect(price?.cachedInput).toBeUndefined();
    expect(price?.tiers?.[0]?.cachedInput).toBeUndefined();
  });

  it('is what the provider lists before what is published', async () => {
    const listed: ListedModel[] = [{ id: 'openai/gpt-oss-20b', contextWindow: 8_000, maxOutputTokens: 4_000 }];
    const provider = { name: 'groq', unavailable: undefined, listModels: async () => listed } as unknown as Provider;
    const catalogue = new Catalogue({
      providers: () => [provider],
      models: [],
      listOf: () => 'groq',
      freshMs: 30_000,
      timeoutMs: 1_000,
    });
    await catalogue.refresh();
    expect(catalogue.factsOf('groq', 'openai/gpt-oss-20b')).toMatchObject({
      contextWindow: 8_000,
      maxOutputTokens: 4_000,
      price: { input: 0.075 },
    });
  });

  describe('on a day', () => {
    beforeEach(() => void vi.useFakeTimers());
    afterEach(() => void vi.useRealTimers());

    it.each([
      ['2026-12-31T23:59:59Z', 0.75],
      ['2027-01-01T00:00:00Z', 1.5],
    ])('costs what is announced for it: at %s %d', (time, input) => {
      vi.setSystemTime(new Date(time));
      expect(catalogueOf().factsOf('gemini', 'gemini-3.8-flash').price?.input).toBe(input);
    });
  });
});

describe('what a call costs that another model answered', () => {
  it.each([
    ['another model', 'gemini-2.5-pro', 'gemini-3.8-flash', 3.75],
    ['a version of the same', 'gemini-2.5-pro', 'gemini-2.5-pro-preview-06-05', 10],
    ['one that nobody knows', 'gemini-2.5-pro', 'gemini-9-ultra', 10],
    ['the same', 'gemini-2.5-pro', 'gemini-2.5-pro', 10],
  ])('is the price of %s', (_, asked, answered, output) => {
    vi.useFakeTimers({ now: new Date('2026-11-24') });
    expect(catalogueOf().priceOf('gemini', asked, answered)?.output).toBe(output);
    vi.useRealTimers();
  });

  it('is as configured where the answer comes from a version of the configured model', () => {
    const catalogue = catalogueOf([{ provider: 'main', id: 'gpt-4o', rates: { input: 0, output: 0 } }]);
    expect(catalogue.priceOf('main', 'gpt-4o', 'gpt-4o-2024-08-06')).toMatchObject({ input: 0, output: 0 });
  });

  it('is as configured for the model that answered', () => {
    const catalogue = catalogueOf([
      { provider: 'elsewhere', id: 'asked', rates: { input: 1, output: 1 } },
      { provider: 'elsewhere', id: 'answered', rates: { input: 2, output: 2 } },
    ]);
    expect(catalogue.priceOf('elsewhere', 'asked', 'answered')?.input).toBe(2);
    expect(catalogue.priceOf('elsewhere', 'asked', 'unknown')?.input).toBe(1);
  });
});

describe('the lists of providers', () => {
  /** A catalogue of one provider that lists, or fails, as `answer` says; and what came of asking. */
  function listing(answer: () => Promise<ListedModel[]>, mayAsk = () => true) {
    const listModels = vi.fn(answer);
    const provider = { name: 'main', unavailable: undefined, listModels } as unknown as Provider;
    const told: [string, unknown][] = [];
    const catalogue = new Catalogue({
      providers: () => [provider],
      models: [],
      listOf: () => undefined,
      freshMs: 30_000,
      timeoutMs: 1_000,
      mayAsk,
      onAsked: (name, error) => void told.push([name, error]),
    });
    return { catalogue, listModels, told };
  }

  it('are told of, with what they ended in', async () => {
    const failure = new Error('no answer');
    const { catalogue, listModels, told } = listing(async () => [{ id: 'a' }]);
    await catalogue.refresh();
    listModels.mockRejectedValue(failure);
    await catalogue.refreshOlder(-1);
    expect(told).toEqual([
      ['main', undefined],
      ['main', failure],
    ]);
    expect([...catalogue.idsOf({ name: 'main', defaultModel: '' } as Provider)]).toEqual(['a']);
  });

  it('are not asked for while the provider is to be left alone', async () => {
    const { catalogue, listModels, told } = listing(
      async () => [],
      () => false,
    );
    await catalogue.refresh();
    expect([catalogue.stale, told]).toEqual([false, []]);
    expect(listModels).not.toHaveBeenCalled();
  });

  it('are asked for once by all who want them, and not again while they are young', async () => {
    const { catalogue, listModels } = listing(async () => []);
    await Promise.all([catalogue.refresh(), catalogue.refreshOlder(15_000)]);
    await catalogue.refreshOlder(15_000);
    expect(listModels).toHaveBeenCalledTimes(1);
  });
});
