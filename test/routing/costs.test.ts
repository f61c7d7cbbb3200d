import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { costOf } from '../../src/providers/target.ts';
import { Catalogue } from '../../src/routing/catalogue.ts';
import { type ListName, listFor } from '../../src/routing/published-models.ts';

const lists: Readonly<Record<string, ListName | undefined>> = {
  gemini: listFor('gemini', ''),
  groq: listFor('groq', ''),
  openai: listFor('openai_compatible', 'https://api.openai.com/v1'),
  anthropic: listFor('anthropic', ''),
  ollama: listFor('ollama', 'http://127.0.0.1:11434'),
};

const catalogue = new Catalogue({
  providers: () => [],
  models: [
    {
      provider: 'ollama',
      id: 'llama3.2',
      rates: { input: 0, output: 0, cachedInput: undefined },
      contextWindow: undefined,
      quality: undefined,
    },
  ],
  listOf: (provider) => lists[provider],
  freshMs: 30_000,
  timeoutMs: 1_000,
});

/** prompt, completion, and of these: cached, cache write, reasoning. */
type Tokens = readonly [prompt: number, completion: number, cached?: number, written?: number, reasoning?: number];

/** What a call costs by the providers' price lists, in millionths of a dollar: prompt and completion. */
const costs: readonly (readonly [
  provider: string,
  model: string,
  tokens: Tokens,
  prompt: number,
  completion: number,
])[] = [
  ['gemini', 'gemini-2.5-pro', [1_000, 500], 1_000 * 1.25, 500 * 10],
  ['gemini', 'gemini-2.5-pro', [1_000, 500, 400], 600 * 1.25 + 400 * 0.125, 500 * 10],
  ['gemini', 'gemini-2.5-pro', [1_000, 2_500, 0, 0, 2_000], 1_000 * 1.25, 2_500 * 10],
  ['gemini', 'gemini-2.5-pro', [200_000, 10], 200_000 * 1.25, 10 * 10],
  ['gemini', 'gemini-2.5-pro', [200_001, 10], 200_001 * 2.5, 10 * 15],
  ['gemini', 'gemini-2.5-pro', [300_000, 900, 250_000], 50_000 * 2.5 + 250_000 * 0.25, 900 * 15],
  ['gemini', 'gemini-2.5-flash', [12_345, 678, 0, 0, 600], 12_345 * 0.3, 678 * 2.5],
  ['gemini', 'gemini-2.5-flash', [500_000, 1], 500_000 * 0.3, 2.5],
  ['gemini', 'gemini-2.5-flash-lite', [7, 3, 7], 7 * 0.01, 3 * 0.4],
  ['gemini', 'gemini-3-flash-preview', [2_000, 1_000, 1_500], 500 * 0.5 + 1_500 * 0.05, 1_000 * 3],
  ['gemini', 'gemini-3.1-pro-preview', [250_000, 4_000, 100_000], 150_000 * 4 + 100_000 * 0.4, 4_000 * 18],
  ['gemini', 'gemini-3.8-flash', [1_000_000, 65_536], 750_000, 65_536 * 3.75],
  ['gemini', 'gemini-embedding-001', [1_234, 0], 1_234 * 0.15, 0],
  ['groq', 'openai/gpt-oss-120b', [1_000, 1_000], 150, 600],
  ['groq', 'openai/gpt-oss-120b', [4_000, 200, 3_000], 1_000 * 0.15 + 3_000 * 0.075, 200 * 0.6],
  ['groq', 'openai/gpt-oss-20b', [999, 333, 512, 0, 100], 487 * 0.075 + 512 * 0.0375, 333 * 0.3],
  ['groq', 'qwen/qwen3.6-27b', [1_000, 100, 500, 0, 90], 600, 300],
  ['groq', 'qwen/qwen3-32b', [11, 13], 11 * 0.29, 13 * 0.59],
  ['groq', 'openai/gpt-oss-120b', [0, 0], 0, 0],
  ['openai', 'gpt-4.1', [1_000, 1_000], 2_000, 8_000],
  ['openai', 'gpt-4.1-mini', [10_000, 300, 8_192], 1_808 * 0.4 + 8_192 * 0.1, 300 * 1.6],
  ['openai', 'gpt-4.1-nano', [1, 1], 0.1, 0.4],
  ['openai', 'gpt-4o-2024-08-06', [100, 50, 100], 125, 500],
  ['openai', 'gpt-5.4', [271_999, 10], 271_999 * 2.5, 150],
  ['openai', 'gpt-5.4', [300_000, 10, 200_000], 100_000 * 5 + 200_000 * 0.5, 225],
  ['openai', 'gpt-5.4-mini', [5_000, 4_000, 0, 0, 3_900], 5_000 * 0.75, 4_000 * 4.5],
  ['openai', 'gpt-5.5', [1_500, 250, 1_024, 0, 64], 476 * 5 + 1_024 * 0.5, 250 * 30],
  ['openai', 'gpt-5.6-luna', [20_000, 400, 0, 10_000], 10_000 * 0.2 + 10_000 * 0.25, 480],
  ['openai', 'gpt-5.6-terra', [280_000, 1_000, 100_000], 180_000 * 4 + 100_000 * 0.4, 18_000],
  ['openai', 'o3', [77, 1_777, 0, 0, 1_700], 154, 1_777 * 8],
  ['openai', 'text-embedding-3-small', [8_000, 0], 160, 0],
  ['openai', 'text-embedding-3-large', [8_000, 0], 1_040, 0],
  ['anthropic', 'claude-opus-4-8', [1_000, 1_000], 5_000, 25_000],
  ['anthropic', 'claude-opus-4-8', [9_000, 200, 6_000, 2_000], 5_000 + 6_000 * 0.5 + 2_000 * 6.25, 5_000],
  ['anthropic', 'claude-sonnet-4-5-20250929', [200_000, 100, 0, 50_000], 150_000 * 3 + 50_000 * 3.75, 1_500],
  ['anthropic', 'claude-sonnet-4-5', [200_001, 100, 1, 50_000], 150_000 * 6 + 0.6 + 50_000 * 7.5, 2_250],
  ['anthropic', 'claude-sonnet-5', [400_000, 100, 400_000], 80_000, 1_000],
  ['anthropic', 'claude-haiku-4-5-20251001', [3_000, 10, 0, 3_000], 3_750, 50],
  ['anthropic', 'claude-opus-4-1', [10, 10], 150, 750],
  ['ollama', 'llama3.2', [123_456, 7_890, 100_000], 0, 0],
];

describe('the cost of a call', () => {
  beforeAll(() => void vi.useFakeTimers({ now: new Date('2026-11-24') }));
  afterAll(() => void vi.useRealTimers());

  it.each(costs)(
    'at %s %s for %j is %d and %d millionths of a dollar',
    (provider, model, tokens, prompt, completion) => {
      const [promptTokens, completionTokens, cachedPromptTokens, cacheWritePromptTokens, reasoningTokens] = tokens;
      const cost = costOf(
        {
          $typeName: 'llmgateway.v1.Usage',
          promptTokens,
          completionTokens,
          totalTokens: promptTokens + completionTokens,
          ...(cachedPromptTokens !== undefined && { cachedPromptTokens }),
          ...(cacheWritePromptTokens !== undefined && { cacheWritePromptTokens }),
          ...(reasoningTokens !== undefined && { reasoningTokens }),
          estimated: false,
        },
        catalogue.priceOf(provider, model, model),
      );
      expect(Math.abs((cost?.promptUsd ?? Number.NaN) - prompt / 1e6)).toBeLessThan(1e-9);
      expect(Math.abs((cost?.completionUsd ?? Number.NaN) - completion / 1e6)).toBeLessThan(1e-9);
      expect(Math.abs((cost?.totalUsd ?? Number.NaN) - (prompt + completion) / 1e6)).toBeLessThan(1e-9);
    },
  );

  it('was told for forty usages', () => {
    expect(costs.length).toBe(40);
  });

  const usage = { $typeName: 'llmgateway.v1.Usage' as const, totalTokens: 0, estimated: false };

  it('counts tokens of sound at their own rate, and at the common one where they have none', () => {
    const spoken = {
      ...usage,
      promptTokens: 100,
      completionTokens: 10,
      promptAudioTokens: 60,
      completionAudioTokens: 4,
    };
    const rates = { input: 1, output: 2 };
    expect(costOf(spoken, rates)).toMatchObject({ promptUsd: 100e-6, completionUsd: 20e-6 });
    expect(costOf(spoken, { ...rates, audioInput: 10, audioOutput: 20 })).toMatchObject({
      promptUsd: 640e-6,
      completionUsd: 92e-6,
    });
  });

  it('never counts a token twice, whatever a provider says', () => {
    const impossible = {
      ...usage,
      promptTokens: 10,
      completionTokens: 0,
      cachedPromptTokens: 8,
      cacheWritePromptTokens: 8,
    };
    expect(costOf(impossible, { input: 100, cachedInput: 1, cacheWrite: 2 })?.promptUsd).toBe(12e-6);
  });

  it.each([
    ['no price', undefined],
    ['no price of the answer', { input: 1 }],
    ['no price of the prompt', { output: 1 }],
  ])('is unknown with %s, and not 0', (_, price) => {
    expect(costOf({ ...usage, promptTokens: 1, completionTokens: 1 }, price)).toBeUndefined();
  });

  it('needs no price of what was not used', () => {
    expect(costOf({ ...usage, promptTokens: 1, completionTokens: 0 }, { input: 1 })?.totalUsd).toBe(1e-6);
    expect(costOf(undefined, { input: 1, output: 1 })).toBeUndefined();
  });
});
