import { calcPrice, findProvider } from '@pydantic/genai-prices';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileCatalogue } from '../../scripts/catalogue/compile-catalogue.ts';
import { overrides } from '../../scripts/catalogue/overrides.ts';
import { costOf } from '../../src/providers/target.ts';
import snapshot from '../../src/routing/published-models.json' with { type: 'json' };
import { type ListName, listFor, priceAt, publishedModel } from '../../src/routing/published-models.ts';

/** Their names of our lists. */
const providers = [
  ['anthropic', 'anthropic'],
  ['gemini', 'google'],
  ['groq', 'groq'],
  ['openai', 'openai'],
] as const;

/** A model's own id, and the ids that are spelt out in its rule. */
function spelt(rule: unknown): string[] {
  if (typeof rule !== 'object' || rule === null) return [];
  return Object.entries(rule).flatMap(([key, value]) =>
    key === 'equals' || key === 'starts_with' ? [String(value)] : spelt(value),
  );
}

const overridden = new Set(overrides.filter(({ facts }) => facts.prices).flatMap(({ ids }) => ids));

/** Models that both sides price by the same tokens. */
const priced = providers.flatMap(([list, providerId]) =>
  (findProvider({ providerId })?.models ?? [])
    .filter(({ id }) => list !== 'gemini' || id.startsWith('gem'))
    .flatMap(({ id, match }) => [id, ...spelt(match)])
    .map((id) => ({ list: list as ListName, providerId, id }))
    .filter(({ list, id }) => {
      const { input, output } = publishedModel(list, id)?.prices?.[0] ?? {};
      return !overridden.has(id) && input !== undefined && output !== undefined;
    }),
);

describe('published models', () => {
  it('are those that npm run catalogue writes', () => {
    expect(snapshot.lists).toEqual(JSON.parse(JSON.stringify(compileCatalogue())));
  });

  it('cost what @pydantic/genai-prices says, at any time, for any usage', () => {
    expect(priced.length).toBeGreaterThan(200);
    const usages = fc.record({
      model: fc.constantFrom(...priced),
      prompt: fc.oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 100_000, max: 400_000 })),
      cached: fc.double({ min: 0, max: 0.5, noNaN: true }),
      written: fc.double({ min: 0, max: 0.5, noNaN: true }),
      completion: fc.integer({ min: 0, max: 100_000 }),
      at: fc.date({ min: new Date('2025-01-01'), max: new Date('2027-06-30'), noInvalidDate: true }),
    });
    fc.assert(
      fc.property(usages, ({ model, prompt, cached, written, completion, at }) => {
        const cachedPromptTokens = Math.floor(prompt * cached);
        const cacheWritePromptTokens = Math.floor(prompt * written);
        const published = publishedModel(model.list, model.id);
        const cost = costOf(
          {
            $typeName: 'llmgateway.v1.Usage',
            promptTokens: prompt,
            completionTokens: completion,
            totalTokens: prompt + completion,
            cachedPromptTokens,
            cacheWritePromptTokens,
            reasoningTokens: Math.floor(completion / 2),
            estimated: false,
          },
          published && priceAt(published, at.getTime()),
        );
        const theirs = calcPrice(
          {
            input_tokens: prompt,
            cache_read_tokens: cachedPromptTokens,
            cache_write_tokens: cacheWritePromptTokens,
            output_tokens: completion,
          },
          model.id,
          { providerId: model.providerId, timestamp: at },
        );
        expect(cost?.promptUsd).toBeCloseTo(theirs?.input_price ?? Number.NaN, 10);
        expect(cost?.completionUsd).toBeCloseTo(theirs?.output_price ?? Number.NaN, 10);
        expect(cost?.totalUsd).toBeCloseTo(theirs?.total_price ?? Number.NaN, 10);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['gemini', 'gemini-3-pro-image-preview', 'output'],
    ['gemini', 'gemini-omni-flash-preview', 'output'],
    ['openai', 'gpt-image-2', 'input'],
  ] as const)('have no price where pictures cost something else: %s %s %s', (list, id, side) => {
    expect(publishedModel(list, id)?.prices?.[0]).not.toHaveProperty(side);
  });

  it.each(overrides)('have the facts of $source on $list $ids', ({ list, ids, facts }) => {
    for (const id of ids) {
      const later = overrides.filter((other) => other.list === list && other.ids.includes(id));
      expect(publishedModel(list, id)).toMatchObject(
        Object.assign({ id }, facts, ...later.map((other) => other.facts)),
      );
    }
  });

  it('know no model that only looks like one of theirs', () => {
    expect(publishedModel('openai', 'gpt-4o-2099-01-01')).toBeUndefined();
    expect(publishedModel('groq', 'llama3.2')).toBeUndefined();
    expect(publishedModel('github_models', 'gpt-4.1')).toBeUndefined();
  });
});

describe('the list that holds for a provider', () => {
  it.each([
    ['groq', 'http://127.0.0.1:1/v1', 'groq'],
    ['gemini', '', 'gemini'],
    ['anthropic', 'https://api.anthropic.com', 'anthropic'],
    ['github_models', '', 'github_models'],
    ['openai_compatible', 'https://api.openai.com/v1', 'openai'],
    ['openai_compatible', 'https://API.groq.com/openai/v1', 'groq'],
    ['openai_compatible', 'https://openrouter.ai/api/v1', undefined],
    ['openai_compatible', 'http://api.openai.com.example/v1', undefined],
    ['ollama', 'http://127.0.0.1:11434', undefined],
    ['demo', '', undefined],
  ])('is for %s at "%s": %s', (kind, baseUrl, list) => {
    expect(listFor(kind, baseUrl)).toBe(list);
  });
});
