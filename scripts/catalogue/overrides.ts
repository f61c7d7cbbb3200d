import type { Capabilities } from '../../src/providers/target.ts';
import type { ListName, PublishedModel } from '../../src/routing/published-models.ts';

/** What we hold of some models beyond, or against, the price list that the catalogue is made from. */
export interface Override {
  readonly list: ListName;
  /** Ids of models. One that the list knows only as a version of another gets a row of its own. */
  readonly ids: readonly string[];
  readonly facts: Partial<Omit<PublishedModel, 'id' | 'match'>>;
  /** Where the facts were read, and the day of what was read. */
  readonly source: string;
  readonly date: string;
}

const modelsDev = { source: 'https://github.com/anomalyco/models.dev', date: '2026-07-02' };
const everything: Capabilities = { tools: true, vision: true, jsonSchema: true, reasoning: true };
const noReasoning: Capabilities = { ...everything, reasoning: false };
const textOnly: Capabilities = { ...everything, vision: false };
/** Anthropic's models keep to a schema from some version on: that is said only where it was seen. */
const unknownSchema: Capabilities = { tools: true, vision: true, reasoning: true };

/** Later ones go over earlier ones, fact by fact. What is not known for certain has no place here. */
export const overrides: readonly Override[] = [
  // OpenAI
  {
    list: 'openai',
    ids: ['gpt-4.1', 'gpt-4.1-mini', 'gpt-4.1-nano'],
    facts: { contextWindow: 1_047_576, maxOutputTokens: 32_768, capabilities: noReasoning },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['gpt-4o', 'gpt-4o-mini'],
    facts: { maxOutputTokens: 16_384, capabilities: noReasoning },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['gpt-4-turbo'],
    facts: { maxOutputTokens: 4_096, capabilities: { tools: true, vision: true, jsonSchema: false, reasoning: false } },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['gpt-5', 'gpt-5-mini', 'gpt-5-nano', 'gpt-5.1', 'gpt-5.1-codex-mini', 'gpt-5.2', 'gpt-5.3-codex'],
    facts: { maxOutputTokens: 128_000, capabilities: everything },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['gpt-5.4-mini', 'gpt-5.4-nano'],
    facts: { maxOutputTokens: 128_000, capabilities: everything },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['gpt-5.4', 'gpt-5.5', 'gpt-5.5-pro'],
    facts: { contextWindow: 1_050_000, maxOutputTokens: 128_000, capabilities: everything },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['gpt-5-chat-latest'],
    facts: { capabilities: { tools: false, vision: true, jsonSchema: true } },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['gpt-5.1-chat-latest', 'gpt-5.2-chat-latest'],
    facts: { contextWindow: 128_000, maxOutputTokens: 16_384, capabilities: everything },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['gpt-5-pro'],
    facts: { maxOutputTokens: 272_000, capabilities: everything },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['o1', 'o1-pro', 'o3', 'o3-pro', 'o4-mini'],
    facts: { maxOutputTokens: 100_000, capabilities: everything },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['o3-mini'],
    facts: { maxOutputTokens: 100_000, capabilities: textOnly },
    ...modelsDev,
  },
  {
    list: 'openai',
    ids: ['gpt-5.6-sol'],
    facts: { maxOutputTokens: 128_000, capabilities: everything },
    source: 'https://github.com/anomalyco/models.dev',
    date: '2026-07-09',
  },
  {
    list: 'openai',
    ids: ['gpt-6-astra'],
    facts: { maxOutputTokens: 128_000, capabilities: everything },
    source: 'https://github.com/anomalyco/models.dev',
    date: '2026-09-04',
  },

  // Gemini
  {
    list: 'gemini',
    ids: ['gemini-2.0-flash', 'gemini-2.0-flash-lite'],
    facts: { contextWindow: 1_048_576, maxOutputTokens: 8_192, capabilities: noReasoning },
    ...modelsDev,
  },
  {
    list: 'gemini',
    ids: [
      'gemini-2.5-flash',
      'gemini-2.5-flash-lite',
      'gemini-2.5-pro',
      'gemini-3-flash-preview',
      'gemini-3-pro-preview',
      'gemini-3.1-flash-lite',
      'gemini-3.1-pro-preview',
      'gemini-3.5-flash',
    ],
    facts: { contextWindow: 1_048_576, maxOutputTokens: 65_536, capabilities: everything },
    ...modelsDev,
  },
  {
    list: 'gemini',
    ids: ['gemini-3.8-flash'],
    facts: { contextWindow: 1_048_576, maxOutputTokens: 65_536, capabilities: everything },
    source: 'https://github.com/anomalyco/models.dev',
    date: '2026-09-02',
  },
  {
    list: 'gemini',
    ids: ['gemini-3.5-flash-lite', 'gemini-3.6-flash', 'gemini-3.7-flash'],
    facts: { contextWindow: 1_048_576, maxOutputTokens: 65_536 },
    source: 'https://ai.google.dev/gemini-api/docs/models',
    date: '2026-10-07',
  },
  {
    list: 'gemini',
    ids: ['gemini-embedding-2'],
    // Of text, which is all that embeddings take here.
    facts: { prices: [{ input: 0.2 }] },
    source: 'https://ai.google.dev/gemini-api/docs/pricing',
    date: '2026-10-07',
  },
  {
    list: 'gemini',
    ids: ['gemma-4-26b-a4b-it', 'gemma-4-31b-it'],
    // Free of charge, and not to be had for money.
    facts: { prices: [{ input: 0, output: 0 }] },
    source: 'https://ai.google.dev/gemini-api/docs/pricing',
    date: '2026-10-07',
  },
  {
    list: 'gemini',
    ids: ['gemma-4-26b-a4b-it', 'gemma-4-31b-it'],
    facts: { maxOutputTokens: 32_768, capabilities: everything },
    ...modelsDev,
  },

  // Groq
  {
    list: 'groq',
    ids: ['openai/gpt-oss-120b', 'openai/gpt-oss-20b', 'openai/gpt-oss-safeguard-20b'],
    facts: { maxOutputTokens: 65_536, capabilities: textOnly },
    ...modelsDev,
  },
  {
    list: 'groq',
    ids: ['qwen/qwen3.6-27b'],
    facts: {
      prices: [{ input: 0.6, output: 3 }],
      maxOutputTokens: 16_384,
      capabilities: { vision: true, reasoning: true },
    },
    source: 'https://console.groq.com/docs/models',
    date: '2026-11-23',
  },
  {
    list: 'groq',
    ids: ['qwen/qwen3-32b'],
    facts: { maxOutputTokens: 40_960, capabilities: { tools: true, vision: false, reasoning: true } },
    ...modelsDev,
  },
  {
    list: 'groq',
    ids: ['llama-3.1-8b-instant'],
    facts: {
      contextWindow: 131_072,
      maxOutputTokens: 131_072,
      capabilities: { tools: true, vision: false, reasoning: false },
    },
    ...modelsDev,
  },
  {
    list: 'groq',
    ids: ['llama-3.3-70b-versatile'],
    facts: {
      contextWindow: 131_072,
      maxOutputTokens: 32_768,
      capabilities: { tools: true, vision: false, reasoning: false },
    },
    ...modelsDev,
  },
  {
    list: 'groq',
    ids: ['meta-llama/llama-4-scout-17b-16e-instruct'],
    facts: { contextWindow: 131_072, maxOutputTokens: 8_192, capabilities: noReasoning },
    ...modelsDev,
  },
  {
    list: 'groq',
    ids: ['groq/compound', 'groq/compound-mini'],
    // What it costs depends on the models and tools that it uses on the way.
    facts: { contextWindow: 131_072, maxOutputTokens: 8_192, capabilities: { tools: false, vision: false } },
    ...modelsDev,
  },

  // Anthropic
  {
    list: 'anthropic',
    ids: ['claude-3-5-sonnet'],
    facts: { maxOutputTokens: 8_192, capabilities: { tools: true, vision: true, reasoning: false } },
    ...modelsDev,
  },
  {
    list: 'anthropic',
    ids: ['claude-3-haiku', 'claude-3-opus-latest', 'claude-3-sonnet'],
    facts: { maxOutputTokens: 4_096, capabilities: { tools: true, vision: true, reasoning: false } },
    ...modelsDev,
  },
  {
    list: 'anthropic',
    ids: ['claude-opus-4-0', 'claude-opus-4-1'],
    facts: { maxOutputTokens: 32_000, capabilities: unknownSchema },
    ...modelsDev,
  },
  {
    list: 'anthropic',
    ids: [
      'claude-3-7-sonnet-latest',
      'claude-haiku-4-5',
      'claude-opus-4-5',
      'claude-sonnet-4-0',
      'claude-sonnet-4-5',
      'claude-sonnet-4-6',
    ],
    facts: { maxOutputTokens: 64_000, capabilities: unknownSchema },
    ...modelsDev,
  },
  {
    list: 'anthropic',
    ids: ['claude-fable-5', 'claude-opus-4-6', 'claude-opus-4-7', 'claude-opus-4-8', 'claude-sonnet-5'],
    facts: { maxOutputTokens: 128_000, capabilities: unknownSchema },
    ...modelsDev,
  },
  {
    list: 'anthropic',
    ids: ['claude-opus-5'],
    facts: { maxOutputTokens: 128_000, capabilities: unknownSchema },
    source: 'https://github.com/anomalyco/models.dev',
    date: '2026-07-24',
  },
  {
    list: 'anthropic',
    ids: ['claude-opus-4-7', 'claude-opus-5', 'claude-sonnet-4-6'],
    facts: { capabilities: everything },
    source: 'recordings of answers to output_config',
    date: '2026-11-23',
  },

  // GitHub Models: its own prices, as they were when it was shut down.
  {
    list: 'github_models',
    ids: ['openai/gpt-4o'],
    facts: { prices: [{ input: 2.5, output: 10, cachedInput: 1.25 }], capabilities: noReasoning },
    source: 'https://github.com/github/docs/blob/main/content/billing/reference/costs-for-github-models.md',
    date: '2026-07-30',
  },
  {
    list: 'github_models',
    ids: ['openai/gpt-4o-mini'],
    facts: { prices: [{ input: 0.15, output: 0.6, cachedInput: 0.075 }], capabilities: noReasoning },
    source: 'https://github.com/github/docs/blob/main/content/billing/reference/costs-for-github-models.md',
    date: '2026-07-30',
  },
  {
    list: 'github_models',
    ids: ['openai/gpt-4.1'],
    facts: { prices: [{ input: 2, output: 8, cachedInput: 0.5 }], capabilities: noReasoning },
    source: 'https://github.com/github/docs/blob/main/content/billing/reference/costs-for-github-models.md',
    date: '2026-07-30',
  },
  {
    list: 'github_models',
    ids: ['openai/gpt-4.1-mini'],
    facts: { prices: [{ input: 0.4, output: 1.6, cachedInput: 0.1 }], capabilities: noReasoning },
    source: 'https://github.com/github/docs/blob/main/content/billing/reference/costs-for-github-models.md',
    date: '2026-07-30',
  },
];
