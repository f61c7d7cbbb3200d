import { describe, expect, it } from 'vitest';
import type { Reason } from '../../src/errors.ts';
import { upstreamError } from '../../src/providers/upstream-errors.ts';

function judge(status: number, body: unknown, headers: Record<string, string> = {}) {
  return upstreamError({ provider: 'upstream', model: 'm', status, headers, body, secrets: ['sk-secret'] });
}

function error(fields: object): object {
  return { error: { message: 'said so', ...fields } };
}

const cases: readonly [what: string, status: number, body: unknown, reason: Reason][] = [
  ['a bad request', 400, error({ type: 'invalid_request_error' }), 'provider_rejected'],
  ['FastAPI', 422, { detail: [{ loc: ['body'], msg: 'no' }] }, 'provider_rejected'],
  ['a body too large', 413, error({}), 'provider_rejected'],
  ['a policy', 400, error({ code: 'content_filter' }), 'provider_rejected'],
  ['a prompt too long, by code', 400, error({ code: 'context_length_exceeded' }), 'context_length'],
  [
    'a prompt too long, by words',
    400,
    error({ message: "This endpoint's maximum context length is 8" }),
    'context_length',
  ],
  ["a prompt too long for GitHub's cap", 413, error({ code: 'tokens_limit_reached' }), 'context_length'],
  [
    "a request above a whole minute's limit",
    413,
    error({ code: 'rate_limit_exceeded', type: 'tokens' }),
    'context_length',
  ],
  ['a bad key', 401, error({ code: 'invalid_api_key' }), 'provider_misconfigured'],
  ['a bad key as FastAPI tells it', 401, { detail: 'Invalid API Key' }, 'provider_misconfigured'],
  ['a bad key as xAI tells it', 400, { code: 'x', error: 'Incorrect API key provided' }, 'provider_misconfigured'],
  [
    'a bad key as Google tells it',
    400,
    [error({ details: [{ reason: 'API_KEY_INVALID' }] })],
    'provider_misconfigured',
  ],
  ['a country not served', 400, error({ status: 'FAILED_PRECONDITION' }), 'provider_misconfigured'],
  ['no permission', 403, error({}), 'provider_misconfigured'],
  ['an unknown model', 404, error({ code: 'model_not_found' }), 'provider_misconfigured'],
  ['a retired model', 400, error({ code: 'model_decommissioned' }), 'provider_misconfigured'],
  ['a retired service', 410, error({}), 'provider_misconfigured'],
  ['plain text', 404, 'Not Found', 'provider_misconfigured'],
  ['a redirect', 302, '', 'provider_misconfigured'],
  ['an empty account', 402, error({}), 'provider_quota'],
  [
    'an empty account as Anthropic tells it',
    400,
    error({ type: 'invalid_request_error', message: 'Your credit balance is too low to access the Anthropic API.' }),
    'provider_quota',
  ],
  [
    "Anthropic's limit of what may be spent",
    429,
    error({ details: { error_code: 'enforced_spend_limit_reached' } }),
    'provider_quota',
  ],
  [
    'a prompt too long for Anthropic',
    400,
    error({ type: 'invalid_request_error', message: 'prompt is too long: 201 tokens > 200 maximum' }),
    'context_length',
  ],
  ['an overload as Anthropic tells it', 529, error({ type: 'overloaded_error' }), 'provider_unavailable'],
  ['an empty account within a stream', 200, error({ type: 'billing_error' }), 'provider_quota'],
  ['a bad key within a stream', 200, error({ type: 'authentication_error' }), 'provider_misconfigured'],
  ['a body too large within a stream', 200, error({ type: 'request_too_large' }), 'provider_rejected'],
  ['a quota', 429, error({ code: 'insufficient_quota' }), 'provider_quota'],
  ['a limit of a day', 429, error({ message: 'Limit 200000 (TPD)' }), 'provider_quota'],
  ["GitHub's limit of a day", 429, error({ message: 'Rate limit of 150 per 86400s exceeded' }), 'provider_quota'],
  [
    "Google's limit of a day",
    429,
    error({ details: [{ violations: [{ quotaId: 'RequestsPerDay' }] }] }),
    'provider_quota',
  ],
  [
    "Google's limit of a day as it tells its own services",
    429,
    error({ details: [{ metadata: { quota_limit: 'GenerateRequestsPerDayPerProject' } }] }),
    'provider_quota',
  ],
  ['a rate limit', 429, error({ code: 'rate_limit_exceeded' }), 'provider_rate_limited'],
  ['a rate limit with a number as code', 429, error({ code: 429 }), 'provider_rate_limited'],
  [
    'a rate limit that speaks of the context length',
    429,
    error({ message: 'maximum context length' }),
    'provider_rate_limited',
  ],
  ['a timeout', 408, '', 'provider_timeout'],
  ['no capacity', 498, error({ code: 'capacity_exceeded' }), 'provider_unavailable'],
  ['a proxy on the way', 407, '', 'provider_unavailable'],
  ['an error of the server', 500, error({}), 'provider_unavailable'],
  ['a page of a proxy', 502, '<html><h1>502 Bad Gateway</h1></html>', 'provider_unavailable'],
  ['an overload', 529, error({ type: 'overloaded_error' }), 'provider_unavailable'],
  ['a gateway timeout', 504, '', 'provider_unavailable'],
  ['a tool the model could not use', 400, error({ code: 'tool_use_failed' }), 'provider_protocol'],
  ['JSON the model got wrong', 400, error({ code: 'json_validate_failed' }), 'provider_protocol'],
  ['a call that Gemini got wrong', 200, error({ code: 'MALFORMED_FUNCTION_CALL' }), 'provider_protocol'],
  ['an error under 200 with a status', 200, error({ code: 429 }), 'provider_rate_limited'],
  ['an error under 200 with a status as text', 200, error({ code: '503' }), 'provider_unavailable'],
  ["an error under 200 with Groq's status", 200, error({ code: 'x', status_code: 400 }), 'provider_rejected'],
  ['an error under 200 with a word', 200, error({ type: 'overloaded_error' }), 'provider_unavailable'],
  ['an error under 200 without any', 200, { error: 'boom' }, 'provider_unavailable'],
  ['nothing that could be read', 500, undefined, 'provider_unavailable'],
  ['values of the wrong types', 400, { error: { message: 5, code: {}, details: 7, type: [] } }, 'provider_rejected'],
];

describe('a refusal', () => {
  it.each(cases)('with %s is judged', (_, status, body, reason) => {
    const judged = judge(status, body);

    expect(judged.reason).toBe(reason);
    expect(judged.provider).toBe('upstream');
    expect(judged.providerStatus).toBe(status);
  });

  it("repeats the provider's words where they are about the request", () => {
    expect(judge(400, error({ message: 'temperature must be <= 2' })).message).toContain('temperature must be <= 2');
    expect(judge(422, { detail: [{ loc: ['body', 'x'] }] }).message).toContain('body');
  });

  it.each([401, 403, 429, 500, 503])('with status %i does not repeat them', (status) => {
    expect(judge(status, error({ message: 'organization org-1 of ada' })).message).not.toContain('org-1');
  });

  it('never repeats a key, not even to the log', () => {
    const judged = judge(400, error({ message: 'bad field near sk-secret' }));

    expect(judged.message).toContain('***');
    expect(`${judged.message} ${(judged.cause as Error).message}`).not.toContain('sk-secret');
  });

  it('repeats no page and no novel', () => {
    expect(judge(400, '<html>x</html>').message).toBe('upstream rejected the request: status 400');
    expect(judge(400, error({ message: 'x'.repeat(100_000) })).message.length).toBeLessThan(3_000);
  });

  it('names the model that is not there', () => {
    expect(judge(404, error({ code: 'model_not_found' })).message).toBe('upstream does not know the model m');
  });

  it.each([
    [404, 'Not Found', /address.*404/],
    [410, error({}), /retired/],
    [308, '', /redirects/],
    [403, error({}), /does not permit/],
    [400, error({ status: 'FAILED_PRECONDITION' }), /does not permit/],
    [401, error({}), /refused the gateway's key/],
  ])('with status %i says what to look at', (status, body, message) => {
    expect(judge(status, body).message).toMatch(message);
  });

  it("keeps the provider's own code", () => {
    expect(judge(400, error({ code: 'content_filter' })).providerCode).toBe('content_filter');
    expect(judge(400, error({ status: 'INVALID_ARGUMENT' })).providerCode).toBe('INVALID_ARGUMENT');
    expect(judge(400, {}).providerCode).toBeUndefined();
  });

  it('tells how long to wait where waiting helps', () => {
    const headers = { 'retry-after': '7' };

    expect(judge(429, error({}), headers).retryAfterMs).toBe(7_000);
    expect(judge(503, error({}), headers).retryAfterMs).toBe(7_000);
    expect(judge(529, error({}), headers).retryAfterMs).toBe(7_000);
    expect(judge(400, error({}), headers).retryAfterMs).toBeUndefined();
    expect(judge(500, error({}), headers).retryAfterMs).toBeUndefined();
    expect(judge(200, error({ type: 'overloaded_error' }), headers).retryAfterMs).toBeUndefined();
  });
});
