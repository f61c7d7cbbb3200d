import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { freshName, type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { chunk, type Exchange, saying } from '../support/scripted-upstream.ts';

/** Failures of the first provider before it has said anything, and the reason that its attempt must show. */
const failures: [string, (exchange: Exchange) => unknown, RegExp][] = [
  [
    '429',
    (exchange) => exchange.json({ error: { message: 'slow down' } }, 429, { 'retry-after': '7' }),
    /^provider_rate_limited$/,
  ],
  ['500', (exchange) => exchange.json({ error: { message: 'boom' } }, 500), /^provider_unavailable$/],
  ['503', (exchange) => exchange.text('', 503), /^provider_unavailable$/],
  ['401', (exchange) => exchange.json({ error: { message: 'bad key' } }, 401), /^provider_misconfigured$/],
  ['a broken connection', (exchange) => exchange.reset(), /^provider_(unavailable|protocol)$/],
  ['silence', () => {}, /^provider_timeout$/],
  ['200 with an error', (exchange) => exchange.json({ error: { message: 'x', code: 503 } }), /^provider_unavailable$/],
  ['garbage', (exchange) => exchange.text('{', 200, { 'content-type': 'application/json' }), /^provider_protocol$/],
];

describe('failover', () => {
  let scripted: ScriptedGateway;

  beforeAll(async () => {
    scripted = await startScriptedGateway({
      timeouts: { first_token: '300ms', attempt_unary: '300ms', idle: '300ms' },
    });
    scripted.other.script(saying('from ', 'the second'));
  });
  afterAll(() => scripted.close());

  it.each(failures)('goes from %s to the next provider, at every door', async (_, script, reason) => {
    scripted.upstream.script(script);
    for (const door of await Promise.all(
      scripted.doors.all.map(async ({ name, ask }) => ({ name, ...(await ask({ model: freshName() })) })),
    )) {
      expect([door.name, door.failure, door.told.text]).toEqual([door.name, undefined, 'from the second']);
      expect([door.name, door.headers['x-selected-provider']]).toEqual([door.name, 'second']);
      if (!door.completion) continue;
      const { attempts, provider } = door.completion;
      expect(provider).toBe('second');
      expect(attempts.map((attempt) => [attempt.provider, attempt.outcome])).toEqual([
        ['first', AttemptOutcome.FAILED],
        ['second', AttemptOutcome.SUCCEEDED],
      ]);
      expect(attempts[0]?.reason).toMatch(reason);
    }
  });

  it('goes from a port where nobody listens to the next provider', async () => {
    const port = await closedPort();
    const own = await startScriptedGateway({
      routes: [
        {
          model: 'both-*',
          strategy: 'failover',
          targets: [
            { provider: 'dead', model: '' },
            { provider: 'second', model: '' },
          ],
        },
      ],
      providers: [
        { name: 'dead', kind: 'openai_compatible', base_url: `http://127.0.0.1:${port}/v1`, default_model: 'm' },
        { name: 'second', kind: 'openai_compatible', base_url: scripted.other.url, default_model: 'scripted-model' },
      ],
    });
    for (const { name, ask } of own.doors.all) {
      const { failure, told } = await ask({ model: freshName() });
      expect([name, failure, told.text]).toEqual([name, undefined, 'from the second']);
    }
    await own.close();
  });

  it('never happens once a provider has spoken', async () => {
    scripted.upstream.script(async (exchange) => {
      await exchange.event(chunk({ content: 'half ' }));
      exchange.reset();
    });
    const before = scripted.other.requests.length;
    for (const { name, ask } of scripted.doors.all.filter(({ streaming }) => streaming)) {
      const { failure, told } = await ask({ model: freshName() });
      expect([name, told.text, failure === undefined]).toEqual([name, 'half ', false]);
    }
    expect(scripted.other.requests.length).toBe(before);
  });

  it('does not happen when the caller forbids it', async () => {
    scripted.upstream.script((exchange) => exchange.json({ error: { message: 'boom' } }, 500));
    const before = scripted.other.requests.length;
    for (const { name, ask } of scripted.doors.all) {
      const { failure } = await ask({ model: freshName(), fallback: false });
      expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? 503 : 'unavailable']);
    }
    expect(scripted.other.requests.length).toBe(before);
  });

  it('does not happen when the request is at fault', async () => {
    scripted.upstream.script((exchange) =>
      exchange.json({ error: { message: 'bad schema', type: 'invalid_request_error' } }, 400),
    );
    const before = scripted.other.requests.length;
    for (const { name, ask } of scripted.doors.all) {
      const { failure } = await ask({ model: freshName() });
      expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? 400 : 'invalid_argument']);
    }
    expect(scripted.other.requests.length).toBe(before);
  });

  it('begins with the provider that the caller prefers', async () => {
    scripted.upstream.script(saying('from the first'));
    for (const { name, ask } of scripted.doors.all) {
      const { told } = await ask({ model: freshName(), provider: 'second' });
      expect([name, told.text]).toEqual([name, 'from the second']);
    }
  });

  it('ends with 429 and a Retry-After when every provider is limited', async () => {
    scripted.upstream.script((exchange) =>
      exchange.json({ error: { message: 'slow down' } }, 429, { 'retry-after': '7' }),
    );
    scripted.other.script((exchange) =>
      exchange.json({ error: { message: 'slow down' } }, 429, { 'retry-after': '5' }),
    );
    for (const { name, ask } of scripted.doors.all) {
      const { failure, headers } = await ask({ model: freshName() });
      expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? 429 : 'resource_exhausted']);
      if (failure?.status) expect(headers['retry-after']).toBe('5');
    }
  });
});

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
