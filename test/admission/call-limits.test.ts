import { create } from '@bufbuild/protobuf';
import { describe, expect, it, vi } from 'vitest';
import { CompletionRequestSchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import { EmbeddingRequestSchema } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import {
  type CallLimitsOptions,
  callLimits,
  type Demand,
  type Reserve,
  type Tier,
} from '../../src/admission/call-limits.ts';
import type { Limit } from '../../src/store/store.ts';
import { contextOf } from '../attempt/fake-provider.ts';

const DEFAULT: Tier = { name: 'default', capacity: 100, refillPerSecond: 1, tokensPerMinute: 0, maxConcurrent: 0 };
const RESERVE: Reserve = { promptTokens: 100, completionTokens: 900, usd: 0.01, unpriced: undefined, bounded: true };

function demandOf(
  more: Partial<CallLimitsOptions> & { tier?: Partial<Tier>; reserve?: Partial<Reserve> } = {},
  call: { userId?: string; name?: string; tier?: string; address?: string; embedding?: boolean } = {},
): Demand {
  const demand = callLimits({
    tiers: new Map([['default', { ...DEFAULT, ...more.tier }]]),
    limitBy: 'key',
    global: { requestsPerMinute: 0, requestsPerSecond: 0 },
    budgets: new Map(),
    reserveFor: () => ({ ...RESERVE, ...more.reserve }),
    ...more,
  });
  const { userId = '', name = 'search-team', tier = 'default', address = '10.0.0.1', embedding } = call;
  const request = embedding
    ? create(EmbeddingRequestSchema, { options: { userId } })
    : create(CompletionRequestSchema, { options: { userId } });
  const principal = { name, tier, models: [], admin: false };
  const result = demand(request, contextOf({ principal, address }));
  if (result instanceof Promise) throw new Error('a promise without need');
  return result;
}

function keysOf({ limits }: Demand): string[] {
  return limits.map(({ subject, name }) => `${subject} ${name}`);
}

describe('the limits of a call', () => {
  it('are those of its tier', () => {
    const { limits } = demandOf({ tier: { tokensPerMinute: 6000, maxConcurrent: 5 } });
    expect(limits).toEqual([
      { kind: 'requests', subject: 'key:search-team', name: 'requests', capacity: 100, refillPerMs: 0.001, amount: 1 },
      { kind: 'concurrent', subject: 'key:search-team', name: 'concurrent', capacity: 5, amount: 1 },
      { kind: 'tokens', subject: 'key:search-team', name: 'tokens', capacity: 6000, refillPerMs: 0.1, amount: 1000 },
    ]);
  });

  it('are those of the default tier for a tier that is gone', () => {
    expect(demandOf({}, { tier: 'gold' }).limits).toMatchObject([{ capacity: 100 }]);
  });

  it('hold for all callers together, too', () => {
    const { limits } = demandOf({ global: { requestsPerMinute: 600, requestsPerSecond: 20 } });
    expect(limits.slice(1)).toEqual([
      { kind: 'requests', subject: 'global', name: 'minute', capacity: 600, refillPerMs: 0.01, amount: 1 },
      { kind: 'requests', subject: 'global', name: 'second', capacity: 20, refillPerMs: 0.02, amount: 1 },
    ]);
  });

  it('have the budget of the key, in nano-dollars', () => {
    const budgets = new Map([['search-team', { usd: 50, periodMs: 60_000 }]]);
    expect(demandOf({ budgets }).limits.at(-1)).toEqual({
      kind: 'budget',
      subject: 'key:search-team',
      name: 'budget',
      capacity: 50e9,
      periodMs: 60_000,
      amount: 10_000_000,
    });
    expect(keysOf(demandOf({ budgets }, { name: 'other' }))).toEqual(['key:other requests']);
  });

  it('do not ask what a call may take where neither tokens nor money are limited', () => {
    const reserveFor = vi.fn(() => RESERVE);
    expect(demandOf({ reserveFor }).reserve).toBeUndefined();
    expect(reserveFor).not.toHaveBeenCalled();
  });

  it.each<[Partial<CallLimitsOptions>, Parameters<typeof demandOf>[1], string]>([
    [{ limitBy: 'key' }, { userId: 'bob' }, 'key:search-team requests'],
    [{ limitBy: 'user_id' }, { userId: 'bob' }, 'user:bob requests'],
    [{ limitBy: 'user_id' }, {}, 'key:search-team requests'],
    [{ limitBy: 'key_and_user_id' }, { userId: 'bob' }, 'key:search-team requests:user:bob'],
    [{ limitBy: 'key_and_user_id' }, {}, 'key:search-team requests'],
    [{}, { name: 'anonymous' }, 'address:10.0.0.1 requests'],
    [{ limitBy: 'user_id' }, { name: 'anonymous', userId: 'bob' }, 'user:bob requests'],
    [{}, { name: 'anonymous', address: '2001:db8:1:2:3:4:5:6' }, 'address:2001:db8:1:2 requests'],
    [{}, { name: 'anonymous', address: '2001:db8::7' }, 'address:2001:db8:0:0 requests'],
    [{}, { name: 'anonymous', address: '::1' }, 'address:0:0:0:0 requests'],
    [{ limitBy: 'user_id' }, { userId: 'a}b{c/d%' }, 'user:a%7db%7bc%2fd%25 requests'],
  ])('are of the user whom %j makes of %j', (options, call, key) => {
    expect(keysOf(demandOf(options, call))).toEqual([key]);
  });

  it('of a user in a key leave the budget to the key', () => {
    const budgets = new Map([['search-team', { usd: 50, periodMs: 60_000 }]]);
    expect(keysOf(demandOf({ budgets, limitBy: 'user_id' }, { userId: 'bob' }))).toEqual([
      'user:bob requests',
      'key:search-team budget',
    ]);
  });

  it('wait for what a call may take where that takes a while', async () => {
    const demand = callLimits({
      tiers: new Map([['default', { ...DEFAULT, tokensPerMinute: 6000 }]]),
      limitBy: 'key',
      global: { requestsPerMinute: 0, requestsPerSecond: 0 },
      budgets: new Map(),
      reserveFor: async () => RESERVE,
    });
    expect(await demand(create(CompletionRequestSchema), contextOf())).toMatchObject({ reserve: RESERVE });
  });
});

describe('a call that could never be let in', () => {
  const tier = { tokensPerMinute: 6000 };
  const budgets = new Map([['search-team', { usd: 0.5, periodMs: 60_000 }]]);

  it.each<[string, Parameters<typeof demandOf>, string, string]>([
    [
      'may take more tokens than there ever are',
      [{ tier, reserve: { completionTokens: 5901 } }],
      'max_output_tokens',
      'this call may take 6001 tokens, 100 of them for its prompt: more than the 6000 tokens a minute of tier "default"',
    ],
    [
      'has a prompt larger than that',
      [{ tier, reserve: { promptTokens: 6001, completionTokens: 1, bounded: false } }],
      'messages',
      'this call may take 6001 tokens, 6001 of them for its prompt: more than the 6000 tokens a minute of tier "default"',
    ],
    [
      'embeds too much',
      [{ tier, reserve: { promptTokens: 6001, completionTokens: 0 } }, { embedding: true }],
      'inputs',
      'this call may take 6001 tokens, 6001 of them for its prompt: more than the 6000 tokens a minute of tier "default"',
    ],
    [
      'may cost more than the whole budget',
      [{ budgets, reserve: { usd: 0.75, bounded: false } }],
      'max_output_tokens',
      'this call may cost USD 0.75: more than the budget of USD 0.50 of the key "search-team"; bound the length of its answer',
    ],
  ])('%s', (_, [options, call], field, description) => {
    expect(() => demandOf(options, call)).toThrowError(
      expect.objectContaining({
        reason: 'invalid_request',
        message: description,
        violations: [{ field, description }],
      }),
    );
  });

  it('is none whose bound is not the caller’s own', () => {
    const { limits } = demandOf({ tier, reserve: { completionTokens: 64_000, bounded: false } });
    expect(limits.at(-1)).toMatchObject({ kind: 'tokens', amount: 6000 });
  });

  it('is one whose price is unknown, for a key with a budget', () => {
    const reserve = { usd: undefined, unpriced: 'local/llama' };
    expect(() => demandOf({ budgets, reserve })).toThrowError(
      expect.objectContaining({
        reason: 'permission_denied',
        message: 'the key "search-team" has a budget, and what a call to local/llama costs is unknown',
      }),
    );
    expect(demandOf({ tier, reserve }).limits).toHaveLength(2);
  });
});

describe('a tier', () => {
  it('must be there for those who have none', () => {
    const options = { limitBy: 'key', global: { requestsPerMinute: 0, requestsPerSecond: 0 } } as const;
    expect(() => callLimits({ ...options, tiers: new Map(), budgets: new Map(), reserveFor: () => RESERVE })).toThrow(
      'there is no tier "default"',
    );
  });

  it('gives equal callers equal limits', () => {
    const [one, two]: Limit[][] = [1, 2].map(() => [...demandOf().limits]);
    expect(one).toEqual(two);
  });
});
