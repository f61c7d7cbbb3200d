import { describe, expect, it } from 'vitest';
import { AttemptOutcome } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { errorTable, GatewayError, type Reason } from '../../../src/errors.ts';
import { type Script, send, serve } from './serve.ts';

const body = { messages: [{ role: 'user', content: 'hi' }], max_completion_tokens: 3 };

function failing(error: GatewayError): { complete: Script } {
  return {
    complete: async function* () {
      yield await Promise.reject(error);
    },
  };
}

const reasons = (Object.keys(errorTable) as Reason[]).filter((reason) => reason !== 'cancelled');

describe('an error of the table', () => {
  it.each(reasons)('%s has its status, type and code at both doors', async (reason) => {
    const served = await serve(failing(new GatewayError(reason, 'what was wrong')));
    const row = errorTable[reason];
    const openai = await send(served, '/v1/chat/completions', { body });
    expect(openai.status).toBe(row.httpStatus);
    expect(openai.json.error).toMatchObject({ message: 'what was wrong', type: row.openaiType, code: row.openaiCode });
    expect(openai.json.error.metadata).toMatchObject({ reason, request_id: openai.headers['x-request-id'] });
    const native = await send(served, '/completion', { body });
    expect(native.status).toBe(row.httpStatus);
    expect(native.json).toMatchObject({
      error: reason,
      message: 'what was wrong',
      request_id: native.headers['x-request-id'],
      timestamp: expect.stringMatching(/Z$/),
      provider: null,
      retry_after: null,
    });
  });

  it('tells every attempt, the provider and when to come back', async () => {
    const error = new GatewayError('provider_rate_limited', 'slow down', { provider: 'groq', retryAfterMs: 2100 });
    error.attempts = [
      {
        $typeName: 'llmgateway.v1.Attempt',
        provider: 'groq',
        model: 'm',
        outcome: AttemptOutcome.FAILED,
        reason: 'provider_rate_limited',
        providerRequestId: 'req_1',
        duration: { $typeName: 'google.protobuf.Duration', seconds: 0n, nanos: 250_000_000 },
      },
    ];
    const served = await serve(failing(error));
    const attempts = [
      {
        provider: 'groq',
        model: 'm',
        outcome: 'failed',
        reason: 'provider_rate_limited',
        duration: 0.25,
        provider_request_id: 'req_1',
      },
    ];
    const openai = await send(served, '/v1/chat/completions', { body });
    expect(openai.json.error.metadata).toMatchObject({ provider: 'groq', retry_after: 3, attempts });
    expect(openai.headers).toMatchObject({
      'retry-after': '3',
      'retry-after-ms': '2100',
      'x-gateway-attempts': '1',
      'x-selected-provider': 'groq',
    });
    const native = await send(served, '/completion', { body });
    expect(native.json).toMatchObject({ provider: 'groq', retry_after: 3, details: { attempts } });
  });

  it("names the field in the caller's words", async () => {
    const violations = [
      { field: 'max_output_tokens', description: 'must be 1 or more, not 0' },
      { field: 'messages[0].parts[0].text', description: 'is bad' },
    ];
    const served = await serve(failing(new GatewayError('invalid_request', 'max_output_tokens: ...', { violations })));
    const { json } = await send(served, '/v1/chat/completions', { body });
    expect(json.error).toMatchObject({
      message: 'max_completion_tokens: must be 1 or more, not 0; messages[0].content: is bad',
      param: 'max_completion_tokens',
    });
  });

  it.each<[Reason, string | null]>([
    ['model_not_found', 'model'],
    ['context_length', 'messages'],
    ['provider_unavailable', null],
  ])('%s is about %s', async (reason, param) => {
    const { json } = await send(await serve(failing(new GatewayError(reason, 'x'))), '/v1/chat/completions', { body });
    expect(json.error.param).toBe(param);
  });

  it("shows the provider's own code where the table has none", async () => {
    const refusal = new GatewayError('provider_rejected', 'x', { providerCode: 'content_filter' });
    const { json } = await send(await serve(failing(refusal)), '/v1/chat/completions', { body });
    expect(json.error.code).toBe('content_filter');
    const limited = new GatewayError('provider_rate_limited', 'x', { providerCode: 'rate_limit_exceeded' });
    const other = await send(await serve(failing(limited)), '/v1/chat/completions', { body });
    expect(other.json.error.code).toBe('provider_rate_limit');
  });

  it.each<[Reason, number | undefined, string | undefined]>([
    ['provider_rate_limited', 60_000, undefined],
    ['provider_rate_limited', 60_001, 'false'],
    ['rate_limited', undefined, undefined],
    ['budget_exhausted', undefined, 'false'],
    ['provider_quota', undefined, 'false'],
    ['provider_misconfigured', undefined, 'false'],
    ['no_provider_available', 5_000, undefined],
    ['no_provider_available', 120_000, 'false'],
    ['invalid_request', undefined, undefined],
  ])('%s with a wait of %s ms says x-should-retry %s', async (reason, retryAfterMs, expected) => {
    const served = await serve(failing(new GatewayError(reason, 'x', { retryAfterMs })));
    const { headers } = await send(served, '/v1/chat/completions', { body });
    expect(headers['x-should-retry']).toBe(expected);
  });
});
