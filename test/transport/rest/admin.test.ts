import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { ExplainRouteResponseSchema } from '../../../gen/llmgateway/v1/admin_service_pb.ts';
import { RoutingStrategy } from '../../../gen/llmgateway/v1/completion_pb.ts';
import {
  CircuitBreakerSchema,
  CircuitHold,
  CircuitOutcome,
  CircuitState,
} from '../../../gen/llmgateway/v1/provider_pb.ts';
import { GatewayError } from '../../../src/errors.ts';
import type { Gateway } from '../../../src/gateway.ts';
import { durationOf, timestampOf } from '../../../src/time.ts';
import { send, serve } from './serve.ts';

const breakerPath = '/admin/providers/groq/circuit-breaker';
const lastFailure = Date.parse('2027-01-15T08:00:00.500Z');

const breaker = create(CircuitBreakerSchema, {
  provider: 'groq',
  state: CircuitState.OPEN,
  hold: CircuitHold.OPEN,
  totalCalls: 9,
  totalSuccesses: 6,
  totalFailures: 3,
  failureCount: 2,
  successCount: 1,
  slowCount: 1,
  failureRate: 0.5,
  lastFailureTime: timestampOf(lastFailure),
  recoveryTimeout: durationOf(5_500),
  openedTime: timestampOf(lastFailure + 500),
  nextTrialTime: timestampOf(lastFailure + 5_500),
  reason: 'provider_timeout',
  timesOpened: 2,
  history: [
    {
      time: timestampOf(lastFailure),
      model: 'm',
      event: { case: 'outcome', value: CircuitOutcome.FAILURE },
      reason: 'provider_timeout',
    },
    { time: timestampOf(lastFailure), model: 'm', event: { case: 'state', value: CircuitState.OPEN } },
  ],
});
const ofModel = create(CircuitBreakerSchema, { provider: 'groq', model: 'm', state: CircuitState.HALF_OPEN });

/** A gateway that notes what was asked of its breakers. */
function controlled() {
  const asked: unknown[] = [];
  const gateway: Partial<Gateway> = {
    circuitBreakerOf(provider) {
      if (provider !== 'groq') throw new GatewayError('not_found', `there is no provider "${provider}", only groq`);
      return { whole: breaker, models: [ofModel, create(CircuitBreakerSchema, { model: 'other' })] };
    },
    resetCircuitBreaker(...reset) {
      asked.push(reset);
      return breaker;
    },
    setCircuitBreaker(...set) {
      asked.push(set);
      return breaker;
    },
  };
  return { gateway, asked };
}

describe('GET /admin/providers/{provider}/circuit-breaker', () => {
  it('shows the provider as a whole, and each model', async () => {
    const { status, json } = await send(await serve(controlled()), breakerPath);
    const { models, time_since_last_failure: since, ...whole } = json;
    expect(status).toBe(200);
    expect(whole).toEqual({
      provider: 'groq',
      model: null,
      state: 'open',
      hold: 'open',
      total_calls: 9,
      total_successes: 6,
      total_failures: 3,
      failure_count: 2,
      success_count: 1,
      slow_count: 1,
      failure_rate: 0.5,
      last_failure_time: '2027-01-15T08:00:00.500Z',
      last_success_time: null,
      recovery_timeout: 5.5,
      opened_at: '2027-01-15T08:00:01.000Z',
      next_trial_at: '2027-01-15T08:00:06.000Z',
      reason: 'provider_timeout',
      times_opened: 2,
      history: [
        {
          at: '2027-01-15T08:00:00.500Z',
          outcome: 'failure',
          state: null,
          error_class: 'provider_timeout',
          model: 'm',
        },
        { at: '2027-01-15T08:00:00.500Z', outcome: null, state: 'open', error_class: null, model: 'm' },
      ],
    });
    expect(since).toBeCloseTo(Math.max(0, (Date.now() - lastFailure) / 1000), 0);
    expect(models).toMatchObject([
      { model: 'm', state: 'half_open', time_since_last_failure: null },
      { model: 'other' },
    ]);
  });

  it('shows one model in the same shape', async () => {
    const { json } = await send(await serve(controlled()), `${breakerPath}?model=m`);
    expect(json).toMatchObject({ model: 'm', state: 'half_open', models: [{ model: 'm' }] });
    expect(json.models).toHaveLength(1);
  });

  it.each([
    ['/admin/providers/gorq/circuit-breaker', 404, 'not_found'],
    ['/admin/providers/a%20b/circuit-breaker', 404, 'not_found'],
    [`${breakerPath}?model=x`, 404, 'not_found'],
    ['/admin/providers//circuit-breaker', 404, 'not_found'],
    ['/admin/providers/groq/circuit-breaker/more', 404, 'not_found'],
    [`${breakerPath}?modle=m`, 400, 'invalid_request'],
    [`${breakerPath}?model=`, 400, 'invalid_request'],
    [`${breakerPath}?model=a&model=b`, 400, 'invalid_request'],
    ['/admin/providers/%ff/circuit-breaker', 400, 'invalid_request'],
  ])('refuses %s with %d', async (path, status, error) => {
    const answer = await send(await serve(controlled()), path);
    expect([answer.status, answer.json.error]).toEqual([status, error]);
  });

  it('undoes the encoding of a name', async () => {
    const { json } = await send(await serve(controlled()), '/admin/providers/a%20b/circuit-breaker');
    expect(json.message).toContain('"a b"');
  });
});

describe('POST /admin/providers/{provider}/circuit-breaker/reset', () => {
  it.each([
    ['', { message: 'Circuit breaker reset for groq' }, ''],
    ['?model=a%2Fb', { message: 'Circuit breaker reset for groq', model: 'a/b' }, 'a/b'],
  ])('resets what is named%s', async (query, answer, model) => {
    const { gateway, asked } = controlled();
    const { status, json } = await send(await serve({ gateway }), `${breakerPath}/reset${query}`, { method: 'POST' });
    expect([status, json]).toEqual([200, answer]);
    expect(asked).toEqual([['groq', model]]);
  });

  it('resets nothing by a parameter that is not there', async () => {
    const { gateway, asked } = controlled();
    const { status } = await send(await serve({ gateway }), `${breakerPath}/reset?modle=a`, { method: 'POST' });
    expect([status, asked]).toEqual([400, []]);
  });

  it('is not for GET', async () => {
    expect((await send(await serve(controlled()), `${breakerPath}/reset`)).status).toBe(405);
  });
});

describe('POST /admin/providers/{provider}/circuit-breaker', () => {
  it.each([
    [{ hold: 'open' }, ['groq', '', CircuitHold.OPEN]],
    [{ hold: 'closed', model: 'm' }, ['groq', 'm', CircuitHold.CLOSED]],
    [{ hold: 'none', model: null }, ['groq', '', CircuitHold.UNSPECIFIED]],
  ])('takes %j, and shows the breaker', async (body, expected) => {
    const { gateway, asked } = controlled();
    const { status, json } = await send(await serve({ gateway }), breakerPath, { body });
    expect(status).toBe(200);
    expect(json).toMatchObject({ provider: 'groq', models: expect.any(Array) });
    expect(asked).toEqual([expected]);
  });

  it.each([
    [{}, 'hold: must be a string, not nothing'],
    [{ hold: 'half_open' }, 'hold: must be one of open, closed, none, not "half_open"'],
    [{ hold: 'open', model: 5 }, 'model: must be a string, not 5'],
    [{ hold: 'open', modle: 'm' }, 'modle: is not a field of this request'],
  ])('refuses %j', async (body, message) => {
    const { gateway, asked } = controlled();
    const answer = await send(await serve({ gateway }), breakerPath, { body });
    expect([answer.status, answer.json.message, asked]).toEqual([400, message, []]);
  });
});

describe('POST /admin/explain-route', () => {
  const body = { model: 'fast', messages: [{ role: 'user', content: 'Hello' }] };

  it('reads what /completion reads, and tells the targets', async () => {
    const asked: unknown[] = [];
    const explainRoute: Gateway['explainRoute'] = async ({ model, options }, { streaming, principal }) => {
      asked.push([model, options?.provider, streaming, principal.name]);
      return create(ExplainRouteResponseSchema, {
        route: 'fast',
        strategy: RoutingStrategy.HIGHEST_QUALITY,
        targets: [
          { provider: 'groq', model: 'm', position: 1, latency: durationOf(120), estimatedUsd: 0.5, weight: 2 },
          { provider: 'away', model: 'm', leftOut: 'circuit_open', retryAfter: durationOf(1_500) },
        ],
      });
    };
    const answer = await send(await serve({ gateway: { explainRoute } }), '/admin/explain-route', {
      body: { ...body, provider: 'groq', stream: true },
    });
    expect(asked).toEqual([['fast', 'groq', true, 'anonymous']]);
    expect(answer.json).toMatchObject({
      route: 'fast',
      strategy: 'highest_quality',
      fallback: false,
      failure: null,
      targets: [
        { position: 1, left_out: null, latency_ms: 120, estimated_usd: 0.5, weight: 2, quality: null },
        { position: null, left_out: 'circuit_open', retry_after: 1.5, circuit_breaker_state: 'closed' },
      ],
    });
  });

  it('names wrong fields in the words of its body', async () => {
    const violations = [{ field: 'max_output_tokens', description: 'must be at least 1' }];
    const explainRoute = async () => {
      throw new GatewayError('invalid_request', 'max_output_tokens: must be at least 1', { violations });
    };
    const served = await serve({ gateway: { explainRoute } });
    expect(
      (await send(served, '/admin/explain-route', { body: { ...body, max_tokens: 5 } })).json.details.violations,
    ).toMatchObject([{ field: 'max_tokens' }]);
    const unknown = await send(served, '/admin/explain-route', { body: { ...body, modle: 'm' } });
    expect([unknown.status, unknown.json.message]).toEqual([400, 'modle: is not a field of this request']);
  });
});

describe('a caller without admin rights', () => {
  const authenticate = () => ({ name: 'team-key', tier: 'default', models: [], admin: false });

  it.each([
    ['GET', breakerPath],
    ['POST', breakerPath],
    ['POST', `${breakerPath}/reset`],
    ['POST', '/admin/explain-route'],
  ])('may not %s %s', async (method, path) => {
    const { gateway, asked } = controlled();
    const { status, json, text } = await send(await serve({ gateway, authenticate }), path, {
      method,
      ...(method === 'POST' && { body: {} }),
    });
    expect([status, json.error, json.message]).toEqual([
      403,
      'permission_denied',
      `${path} needs a key with admin rights`,
    ]);
    expect(text).not.toContain('team-key');
    expect(asked).toEqual([]);
  });

  it('may see how providers do', async () => {
    expect((await send(await serve({ authenticate }), '/providers')).status).toBe(200);
  });
});
