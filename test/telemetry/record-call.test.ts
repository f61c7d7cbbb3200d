import { describe, expect, it } from 'vitest';
import { errorTable, type Reason } from '../../src/errors.ts';
import { outcomeOf, phaseNames, phasesOf } from '../../src/telemetry/ended-call.ts';
import { Exposition } from '../../src/telemetry/exposition.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { recordCalls } from '../../src/telemetry/record-call.ts';
import { Windows } from '../../src/telemetry/windows.ts';
import { endedCall, type ToldCall, targetNames, usageOf } from './ended-call.ts';
import { readExposition, total } from './read-exposition.ts';

/** Record calls, and read both what Prometheus and the windows make of them. */
async function recorded(...calls: ToldCall[]) {
  const metrics = new Metrics();
  const windows = new Windows();
  const record = recordCalls(metrics, windows, targetNames());
  for (const call of calls) record(endedCall(call));
  const samples = readExposition(await new Exposition(metrics, '0').text());
  const sum = (name: string, labels?: Record<string, string>) => total(samples, name, labels);
  return { samples, sum, window: windows.over(5) };
}

describe('an outcome', () => {
  const expected: Record<string, Reason[]> = {
    cancelled: ['cancelled'],
    refused: [
      'invalid_request',
      'unauthenticated',
      'permission_denied',
      'model_not_found',
      'not_found',
      'method_not_allowed',
      'unsupported_media_type',
      'idempotency_conflict',
      'request_too_large',
      'context_length',
      'rate_limited',
      'budget_exhausted',
      'provider_rejected',
    ],
  };

  it.each(Object.keys(errorTable) as Reason[])('of %s tells who is to blame', (reason) => {
    const outcome = Object.keys(expected).find((name) => expected[name]?.includes(reason)) ?? 'error';
    expect(outcomeOf(reason)).toBe(outcome);
  });
});

describe('a call that is over', () => {
  it('counts for the call and for its attempt', async () => {
    const usage = usageOf(100, 20, { cachedPromptTokens: 40, reasoningTokens: 5 });
    const { sum, window } = await recorded({
      attempts: [{ target: 'gemini/m1', tookMs: 80, usage }],
      usage,
      costUsd: 0.25,
      durationMs: 90,
      door: 'grpc',
    });

    const target = { gateway_provider: 'gemini', gen_ai_request_model: 'm1' };
    const conventional = { ...target, gen_ai_operation_name: 'chat', gen_ai_provider_name: 'gcp.gemini' };
    expect(sum('gateway_requests_total', { gateway_door: 'grpc', gateway_outcome: 'ok' })).toBe(1);
    expect(sum('gateway_attempts_total', { ...target, gateway_outcome: 'ok' })).toBe(1);
    expect(sum('gen_ai_client_operation_duration_sum', conventional)).toBeCloseTo(0.08);
    expect(sum('gen_ai_server_request_duration_sum', conventional)).toBeCloseTo(0.09);
    expect(sum('gen_ai_client_token_usage_sum', { ...conventional, gen_ai_token_type: 'input' })).toBe(100);
    expect(sum('gen_ai_client_token_usage_sum', { ...conventional, gen_ai_token_type: 'output' })).toBe(20);
    expect(sum('gateway_tokens_total', { ...target, gateway_token_type: 'cached_input' })).toBe(40);
    expect(sum('gateway_tokens_total', { ...target, gateway_token_type: 'reasoning' })).toBe(5);
    expect(sum('gateway_cost_total', target)).toBe(0.25);
    expect(sum('gateway_cost_unknown_total')).toBe(0);
    expect(window.calls().tally).toMatchObject({ requests: 1, succeeded: 1, costUsd: 0.25, promptTokens: 100 });
    expect(window.attempts('gemini', 'm1').tally).toMatchObject({ requests: 1, succeeded: 1, costUsd: 0.25 });
    expect(window.attempts('gemini').duration.p50).toBeCloseTo(80);
  });

  // Durations of attempts were rounded to whole milliseconds: a provider that takes 1.4 was told to take 1.
  it('takes as long as it took, also where that is few milliseconds', async () => {
    const { sum, window } = await recorded({ attempts: [{ target: 'groq/m', tookMs: 1.4 }] });
    expect(window.attempts('groq', 'm').duration.p50).toBeCloseTo(1.4);
    expect(sum('gen_ai_client_operation_duration_sum')).toBeCloseTo(0.0014, 6);
  });

  it('counts a failover, its rescue, and the attempt that failed', async () => {
    const { sum, window } = await recorded({
      attempts: [
        { target: 'groq/m1', reason: 'provider_unavailable', tookMs: 10 },
        { target: 'gemini/m2', tookMs: 20 },
      ],
    });
    expect(sum('gateway_failovers_total', { gateway_outcome: 'ok' })).toBe(1);
    expect(sum('gateway_retries_total')).toBe(0);
    expect(sum('gateway_attempts_total', { gateway_provider: 'groq', error_type: 'provider_unavailable' })).toBe(1);
    expect(window.calls().tally).toMatchObject({ requests: 1, succeeded: 1, failed: 0 });
    expect(window.attempts('groq').tally).toMatchObject({ requests: 1, failed: 1 });
    expect(window.attempts('gemini').tally).toMatchObject({ requests: 1, succeeded: 1 });
  });

  it('counts retries at a target and hedges, which are neither failovers', async () => {
    const { sum } = await recorded({
      attempts: [
        { target: 'groq/m1', reason: 'provider_unavailable' },
        { target: 'groq/m1', reason: 'cancelled' },
        { target: 'groq/m1', hedged: true },
      ],
    });
    expect(sum('gateway_failovers_total')).toBe(0);
    expect(sum('gateway_retries_total', { gateway_provider: 'groq' })).toBe(1);
    expect(sum('gateway_hedges_total', { gateway_hedge_result: 'answered' })).toBe(1);
  });

  it.each<[Reason, string, Record<string, string>]>([
    ['rate_limited', 'gateway_limited_total', { gateway_limit: 'rate', gateway_tier: 'premium' }],
    ['budget_exhausted', 'gateway_limited_total', { gateway_limit: 'budget', gateway_tier: 'premium' }],
    ['overloaded', 'gateway_shed_total', { gateway_shed_reason: 'overloaded' }],
    ['draining', 'gateway_shed_total', { gateway_shed_reason: 'draining' }],
  ])('that was refused for %s counts in %s', async (reason, name, labels) => {
    const { sum } = await recorded({ reason, tier: 'premium' });
    expect(sum(name, labels)).toBe(1);
    expect(sum('gateway_requests_total', { error_type: reason })).toBe(1);
  });

  it('counts times of streams: to the first content, between contents, and for each token', async () => {
    const { sum, window } = await recorded(
      {
        attempts: [{ target: 'groq/m1', contentsMs: [100, 120, 150] }],
        streaming: true,
        firstMs: 110,
        durationMs: 310,
        usage: usageOf(5, 21),
      },
      { attempts: [{ target: 'groq/m1', contentsMs: [100] }], firstMs: 110 },
    );
    expect(sum('gen_ai_client_operation_time_to_first_chunk_count')).toBe(1);
    expect(sum('gen_ai_client_operation_time_to_first_chunk_sum')).toBeCloseTo(0.1);
    expect(sum('gen_ai_client_operation_time_per_output_chunk_count')).toBe(2);
    expect(sum('gen_ai_client_operation_time_per_output_chunk_sum')).toBeCloseTo(0.05);
    expect(sum('gen_ai_server_time_to_first_token_sum')).toBeCloseTo(0.11);
    expect(sum('gen_ai_server_time_per_output_token_sum')).toBeCloseTo(0.01);
    expect(window.calls().firstToken.count).toBe(1);
    expect(window.attempts('groq', 'm1').firstToken.p50).toBeCloseTo(100);
  });

  it('is paid by its key, of which only configured names are told', async () => {
    const usage = usageOf(100, 20);
    const attempts = [{ target: 'groq/m1', usage }];
    const { sum } = await recorded(
      { key: 'team', attempts, usage, costUsd: 0.25 },
      { key: 'team', cache: 'hit', provider: 'groq', model: 'm1', usage, costUsd: 0, savedUsd: 0.25, savedMs: 1500 },
      { key: 'team', attempts: [{ target: 'groq/m1', reason: 'provider_timeout' }], reason: 'provider_timeout' },
      { key: 'from-a-token-1', attempts, usage },
      { key: 'from-a-token-2', attempts, usage, costUsd: 0.5 },
    );
    expect(sum('gateway_key_tokens_total', { gateway_key: 'team' })).toBe(120);
    expect(sum('gateway_key_cost_total', { gateway_key: 'team' })).toBe(0.25);
    expect(sum('gateway_key_tokens_total', { gateway_key: 'other' })).toBe(240);
    expect(sum('gateway_key_cost_total', { gateway_key: 'other' })).toBe(0.5);
    expect(sum('gateway_key_cost_total')).toBe(0.75);
    expect(sum('gateway_cache_saved_duration_total', { gateway_provider: 'groq' })).toBe(1.5);
  });

  it('leaves behind how its limits stood, the latest by key', async () => {
    const limit = { subject: 'key:team', name: 'requests', capacity: 100, amount: 1, refillPerMs: 1 };
    const limits = (used: number) => [
      { limit: { ...limit, kind: 'requests' as const }, remaining: 100 - used, resetMs: 1 },
      { limit: { ...limit, kind: 'requests' as const, subject: 'global' }, remaining: 1, resetMs: 1 },
    ];
    const { samples, sum } = await recorded({ key: 'team', limits: limits(90) }, { key: 'team', limits: limits(25) });
    expect(sum('gateway_limit_used', { gateway_key: 'team', gateway_limit: 'requests' })).toBe(0.25);
    expect(samples.filter(({ name }) => name === 'gateway_limit_used')).toHaveLength(1);
  });

  it('that the cache answered is no cost and no attempt', async () => {
    const { sum, window } = await recorded(
      { cache: 'hit', provider: 'groq', model: 'm1', costUsd: 0, savedUsd: 0.5 },
      { cache: 'miss', attempts: [{ target: 'groq/m1' }], costUsd: 0.5 },
    );
    expect(sum('gateway_cache_requests_total', { gateway_cache_result: 'hit' })).toBe(1);
    expect(sum('gateway_cache_requests_total', { gateway_cache_result: 'miss' })).toBe(1);
    expect(sum('gateway_cache_saved_total', { gateway_provider: 'groq' })).toBe(0.5);
    expect(sum('gateway_cost_total')).toBe(0.5);
    expect(sum('gateway_attempts_total')).toBe(1);
    expect(window.calls().tally).toMatchObject({ cacheHits: 1, cacheMisses: 1, costUsd: 0.5, savedUsd: 0.5 });
  });

  it('of unknown price is said to be', async () => {
    const { sum, window } = await recorded({ attempts: [{ target: 'groq/m1' }] });
    expect(sum('gateway_cost_unknown_total', { gateway_provider: 'groq' })).toBe(1);
    expect(window.calls().tally).toMatchObject({ costUsd: 0, unpriced: 1 });
  });

  it('adds at most one series for each metric, whatever callers name', async () => {
    const { samples: before } = await recorded({ attempts: [{ target: 'groq/m1' }] });
    const calls = Array.from({ length: 10_000 }, (_, index) => ({
      attempts: [{ target: `groq/anything-${index}` }],
      asked: `anything-${index}`,
      key: `user-${index}`,
      requestId: `id-${index}`,
    }));
    const { samples, window } = await recorded({ attempts: [{ target: 'groq/m1' }] }, ...calls);
    const counts = (list: typeof samples) => Map.groupBy(list, ({ name, labels: { le = '' } }) => `${name} ${le}`);
    for (const [name, series] of counts(samples)) {
      expect(series.length, name).toBeLessThanOrEqual((counts(before).get(name)?.length ?? 0) + 1);
    }
    expect(window.attempts('groq', 'other').tally.requests).toBe(10_000);
  });
});

describe('the time of a call', () => {
  it('is split so that the parts make the whole', () => {
    const call = endedCall({ attempts: [{ target: 'groq/m1', contentsMs: [3] }], durationMs: 1000 });
    Object.assign(call.notes, { authMs: 1, readMs: 2, queueMs: 3, routeMs: 4, cacheMs: 5 });
    const [attempt] = call.notes.attempts;
    Object.assign(attempt ?? {}, { sentAt: (attempt?.beganAt ?? 0) + 1, endedAt: (attempt?.beganAt ?? 0) + 20 });
    const { each, own } = phasesOf(call);
    const phases = Object.fromEntries(phaseNames.map((name, at) => [name, Math.round(each[at] ?? Number.NaN)]));
    expect(phases).toMatchObject({ auth: 1, read: 2, queue: 3, route: 4, cache: 5, retry: 0 });
    expect(phases).toMatchObject({ connect: 1, first_token: 2, stream: 17, overhead: 965 });
    expect(each.reduce((sum, ms) => sum + ms, 0)).toBeCloseTo(1000);
    expect(own).toBeCloseTo(1000 - 3 - 20);
  });

  it('is recorded by phase, and what the gateway added apart', async () => {
    const { sum } = await recorded({ attempts: [{ target: 'groq/m1' }], durationMs: 40 });
    expect(sum('gateway_request_phase_duration_sum')).toBeCloseTo(0.04);
    expect(sum('gateway_request_overhead_sum', { gateway_door: 'openai' })).toBeLessThanOrEqual(0.04);
  });
});
