import { describe, expect, it } from 'vitest';
import type { CompletionEvent, CompletionRequest, Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { countUsage } from '../../src/admission/count-usage.ts';
import type { Account } from '../../src/completion.ts';
import { MemoryUsage } from '../../src/store/memory-usage.ts';
import { dayTeller } from '../../src/store/usage.ts';
import { contextOf, requestOf } from '../attempt/fake-provider.ts';

const DAY = '2026-11-23';
const answered = { provider: 'groq', model: 'openai/gpt-oss-20b' };
const usage: Usage = {
  $typeName: 'llmgateway.v1.Usage',
  promptTokens: 100,
  completionTokens: 20,
  totalTokens: 120,
  cachedPromptTokens: 30,
  cacheWritePromptTokens: 10,
  reasoningTokens: 5,
  estimated: false,
};
const cost = { $typeName: 'llmgateway.v1.Cost' as const, totalUsd: 0.0015 };

/** What is counted of a call that ends with this account. */
async function counted(account: Partial<Account>) {
  const store = new MemoryUsage();
  const layer = countUsage<CompletionRequest, CompletionEvent>({ store, promptTokensOf: () => 70, day: () => DAY });
  const context = contextOf({ account: { tries: 1, ...account } });
  layer(() => (async function* () {})())(requestOf(), context);
  for (const end of context.ends) end();
  return store.find({ from: DAY, to: DAY });
}

describe('usage', () => {
  it('of a whole answer is what it tells', async () => {
    expect(await counted({ whole: true, answered, spent: { usage, cost } })).toEqual([
      {
        day: DAY,
        key: 'tester',
        ...answered,
        calls: 1,
        failedCalls: 0,
        promptTokens: 100,
        completionTokens: 20,
        cachedPromptTokens: 30,
        cacheWritePromptTokens: 10,
        reasoningTokens: 5,
        nanoUsd: 1_500_000,
        unpricedCalls: 0,
      },
    ]);
  });

  it('whose price is unknown is counted as such, and not as free', async () => {
    const account = { whole: true, answered, spent: { usage, cost: undefined } };
    expect(await counted(account)).toMatchObject([{ nanoUsd: 0, unpricedCalls: 1, promptTokens: 100 }]);
  });

  it('of an answer that was cut is estimated', async () => {
    const account: Partial<Account> = { answered, characters: 80, costOf: () => cost };
    expect(await counted(account)).toMatchObject([
      { calls: 1, failedCalls: 1, promptTokens: 70, completionTokens: 20, nanoUsd: 1_500_000, ...answered },
    ]);
  });

  it('of a call that nobody answered is a failed call', async () => {
    expect(await counted({})).toMatchObject([
      { provider: '', model: '', calls: 1, failedCalls: 1, promptTokens: 0, nanoUsd: 0, unpricedCalls: 0 },
    ]);
  });

  it('of an answer that some other call pays for is the call alone', async () => {
    const account = { whole: true, free: true, answered, spent: { usage, cost } };
    expect(await counted(account)).toMatchObject([
      { calls: 1, failedCalls: 0, promptTokens: 0, nanoUsd: 0, unpricedCalls: 0, ...answered },
    ]);
  });
});

describe('the day', () => {
  it('is that of the clock in UTC, also when it is set back', () => {
    let now = Date.parse('2026-11-23T23:59:59.999Z');
    const day = dayTeller(() => now);
    expect(day()).toBe('2026-11-23');
    now += 1;
    expect(day()).toBe('2026-11-24');
    now -= 1;
    expect(day()).toBe('2026-11-23');
  });
});
