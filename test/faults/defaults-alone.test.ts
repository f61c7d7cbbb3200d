import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Outcome } from '../support/doors.ts';
import type { ConfigFile } from '../support/gateway.ts';
import { type GatewayWithDoors, startGatewayOver } from '../support/scripted-gateway.ts';
import { type Exchange, type ScriptedUpstream, saying, startScriptedUpstream } from '../support/scripted-upstream.ts';

// Two providers, and nothing else is configured: which of them is first is a matter of turns.

let bad: ScriptedUpstream;
let good: ScriptedUpstream;
beforeEach(async () => {
  bad = await startScriptedUpstream();
  good = await startScriptedUpstream();
  good.script(saying('from the good one'));
});
afterEach(() => Promise.all([bad.close(), good.close()]));

const provider = (name: string, upstream: ScriptedUpstream): ConfigFile => ({
  name,
  kind: 'openai_compatible',
  base_url: upstream.url,
  api_key: 'secret',
  default_model: 'scripted-model',
});

async function start(more: Record<string, object> = {}): Promise<GatewayWithDoors> {
  const started = await startGatewayOver([provider('bad', bad), provider('good', good)], more);
  onTestFinished(() => started.close());
  return started;
}

type Named = Outcome & { readonly name: string };

/** Call twice at every door, so that each provider has its turn; each door by a model of its own, listed or not. */
async function atEveryDoor({ doors }: GatewayWithDoors, more: object = {}): Promise<Named[]> {
  const outcomes: Named[] = [];
  for (const { name, ask } of doors.all) {
    for (let turn = 0; turn < 2; turn++) outcomes.push({ name, ...(await ask({ model: 'scripted-model', ...more })) });
  }
  return outcomes;
}

const refusing =
  (status: number, headers: Record<string, string> = {}, error: object = {}) =>
  (exchange: Exchange) =>
    exchange.json({ error: { message: 'made up', ...error } }, status, headers);

const tooLong = refusing(400, {}, { code: 'context_length_exceeded', message: 'maximum context length is 10 tokens' });

describe('defaults alone', () => {
  it.each<[string, (exchange: Exchange) => unknown]>([
    ['a reset', (exchange) => exchange.reset()],
    ['408', refusing(408)],
    ['429 with Retry-After', refusing(429, { 'retry-after': '3' })],
    [
      '429 with the headers of OpenAI',
      refusing(429, { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '3s' }),
    ],
    ['429 without headers', refusing(429)],
    ['429 for a quota', refusing(429, {}, { code: 'insufficient_quota' })],
    ['500', refusing(500)],
    ['502', (exchange) => exchange.text('<html>', 502, { 'content-type': 'text/html' })],
    ['503', (exchange) => exchange.text('', 503)],
    ['504', refusing(504)],
    ['529', refusing(529)],
    ['401', refusing(401)],
    ['200 with an error', (exchange) => exchange.json({ error: { message: 'overloaded', code: 503 } })],
    [
      'a stream whose first event is an error',
      (exchange) => exchange.event({ error: { message: 'overloaded', code: 503 } }).then(() => exchange.done()),
    ],
    ['a stream that ends before it has begun', (exchange) => exchange.event('[DONE]').then(() => exchange.end())],
    ['a request that is too long', tooLong],
  ])('fail over on %s', async (_, script) => {
    const gateway = await start();
    bad.script(script);
    for (const { name, failure, told } of await atEveryDoor(gateway)) {
      expect([name, failure, told.text]).toEqual([name, undefined, 'from the good one']);
    }
    expect(bad.requests.length).toBeGreaterThan(0);
  });

  it('fail over on a refused connection', async () => {
    const gateway = await start();
    await bad.stop();
    for (const { name, failure, told } of await atEveryDoor(gateway)) {
      expect([name, failure, told.text]).toEqual([name, undefined, 'from the good one']);
    }
  });

  it('fail over on a first token that does not come', async () => {
    // But for the limit, which is half a minute.
    const gateway = await start({ timeouts: { first_token: '250ms', attempt_unary: '250ms' } });
    bad.script((exchange) => exchange.request.body?.stream === true && exchange.head());
    const began = performance.now();
    for (const { name, failure, told } of await atEveryDoor(gateway)) {
      expect([name, failure, told.text]).toEqual([name, undefined, 'from the good one']);
    }
    // Ten of them open the breaker.
    expect(performance.now() - began).toBeLessThan(10 * 250 + 2_000);
  });

  it.each<[string, (exchange: Exchange) => unknown, number, string]>([
    ['400', refusing(400, {}, { message: 'no such field', type: 'invalid_request_error' }), 400, 'invalid_argument'],
    ['413', refusing(413), 400, 'invalid_argument'],
    ['422', refusing(422), 400, 'invalid_argument'],
    ['a refusal by policy', refusing(400, {}, { code: 'content_filter' }), 400, 'invalid_argument'],
  ])('do not fail over on %s', async (_, script, status, code) => {
    const gateway = await start();
    bad.script(script);
    for (const { name, failure, told } of await atEveryDoor(gateway, { provider: 'bad' })) {
      expect([name, told.text, failure?.status ?? failure?.code]).toEqual([name, '', failure?.status ? status : code]);
    }
    expect(good.requests).toEqual([]);
    expect(bad.requests.length).toBe(2 * gateway.doors.all.length);
  });

  it('do not fail over on a refusal that is an answer', async () => {
    const gateway = await start();
    bad.script((exchange) =>
      exchange.json({
        id: 'x',
        object: 'chat.completion',
        model: 'm',
        choices: [
          { index: 0, message: { role: 'assistant', content: null, refusal: 'I will not' }, finish_reason: 'stop' },
        ],
      }),
    );
    for (const { name, failure } of await atEveryDoor(gateway, { provider: 'bad' }))
      expect([name, failure]).toEqual([name, undefined]);
    expect(good.requests).toEqual([]);
  });
});

describe('a request that is too long', () => {
  const windows = (ofBad: number, ofGood: number | undefined) => ({
    models: [
      { id: 'scripted-model', provider: 'bad', context_window: ofBad },
      ...(ofGood === undefined ? [] : [{ id: 'scripted-model', provider: 'good', context_window: ofGood }]),
    ],
  });

  it.each([
    ['a larger window', 100_000],
    ['an unknown one', undefined],
  ])('goes on to %s', async (_, window) => {
    const gateway = await startGatewayOver(
      [provider('bad', bad), provider('good', good)],
      windows(50_000, window) as never,
    );
    onTestFinished(() => gateway.close());
    bad.script(tooLong);
    for (const { name, failure, told } of await atEveryDoor(gateway, { provider: 'bad' })) {
      expect([name, failure, told.text]).toEqual([name, undefined, 'from the good one']);
    }
  });

  it('goes nowhere where all others are no larger', async () => {
    const gateway = await startGatewayOver(
      [provider('bad', bad), provider('good', good)],
      windows(50_000, 50_000) as never,
    );
    onTestFinished(() => gateway.close());
    bad.script(tooLong);
    for (const { name, failure } of await atEveryDoor(gateway, { provider: 'bad' })) {
      expect([name, failure?.reason, failure?.status ?? failure?.code]).toEqual([
        name,
        'context_length',
        failure?.status ? 400 : 'invalid_argument',
      ]);
    }
    expect(good.requests).toEqual([]);
  });
});

describe('two providers from the environment', () => {
  it('fail over to each other, at every door', async () => {
    const environment = {
      ENABLE_GEMINI: 'true',
      GEMINI_API_KEY: 'gemini-secret',
      GEMINI_BASE_URL: bad.url,
      ENABLE_GROQ: 'true',
      GROQ_API_KEY: 'groq-secret',
      GROQ_BASE_URL: good.url,
    };
    const gateway = await startGatewayOver([], {}, environment);
    onTestFinished(() => gateway.close());
    expect(gateway.gateway.app.providerNames()).toEqual(['gemini', 'groq']);
    bad.script(refusing(503));
    for (const { name, failure, told, headers } of await atEveryDoor(gateway, { model: '' })) {
      expect([name, failure, told.text]).toEqual([name, undefined, 'from the good one']);
      if (headers['x-selected-provider']) expect(headers['x-selected-provider']).toBe('groq');
    }
    expect(bad.requests.length).toBeGreaterThan(0);
  });
});
