import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import { type Exchange, type ScriptedUpstream, saying, startScriptedUpstream } from '../support/scripted-upstream.ts';

let upstream: ScriptedUpstream;
let other: ScriptedUpstream;
beforeEach(async () => {
  upstream = await startScriptedUpstream();
  other = await startScriptedUpstream();
  other.script(saying('from the other'));
});
afterEach(() => Promise.all([upstream.close(), other.close()]));

const keys = ['sk-first-0001', 'sk-second-0002', 'sk-third-0003'];

/** A provider with three keys, and another one after it. */
async function start(more: Record<string, object> = {}) {
  const { api_key: _, ...provider } = scriptedProvider('keyed', upstream);
  const started = await startGatewayOver([{ ...provider, api_keys: keys }, scriptedProvider('other', other)], {
    routing: { default_strategy: 'failover' },
    telemetry: { log_level: 'debug' },
    ...more,
  });
  onTestFinished(() => started.close());
  return started;
}

/** Which of the keys a request showed. */
const keyOf = ({ request }: Exchange) => keys.findIndex((key) => request.headers.authorization === `Bearer ${key}`);
const shown = () =>
  upstream.requests.map(({ headers }) => keys.indexOf(headers.authorization?.slice('Bearer '.length) ?? ''));

/** Each key does as told: answers, or refuses with a status and headers. */
function script(what: Record<number, readonly [status: number, headers?: Record<string, string>]>): void {
  upstream.script((exchange) => {
    const refusal = what[keyOf(exchange)];
    if (!refusal) return saying('from the keyed one')(exchange);
    const [status, headers = {}] = refusal;
    exchange.json({ error: { message: `key ${keys[keyOf(exchange)]} no` } }, status, headers);
  });
}

const alone = { model: 'scripted-model', provider: 'keyed', fallback: false };

describe('several keys of a provider', () => {
  it('are used in turn', async () => {
    const { doors } = await start();
    script({});
    for (const { ask } of doors.all) expect((await ask(alone)).failure).toBeUndefined();
    expect(shown()).toEqual(doors.all.map((_, at) => at % 3));
  });

  it.each([
    ['refused', 401],
    ['refused', 403],
    ['without money', 402],
    ['limited', 429],
  ])(
    'of which one is %s (%i) answer every call with another one, at every door, and that one rests',
    async (_, status) => {
      const { doors, gateway } = await start();
      script({ 0: [status, { 'retry-after': '30' }] });
      for (const { name, ask } of doors.all) {
        const { failure, told, headers } = await ask(alone);
        expect([name, failure, told.text]).toEqual([name, undefined, 'from the keyed one']);
        if (headers['x-selected-provider']) expect(headers['x-selected-provider']).toBe('keyed');
      }
      // The first call met it, and none after that.
      expect(shown().slice(0, 2)).toEqual([0, 1]);
      expect(shown().filter((key) => key === 0)).toHaveLength(1);
      const { completion } = await doors.named('grpc unary').ask(alone);
      expect(completion?.attempts).toHaveLength(1);
      expect(gateway.app.gateway.circuitBreakerOf('keyed').whole.timesOpened).toBe(0);
      expect(other.requests).toEqual([]);
    },
  );

  it('tell of the change in the attempts of the call, and of no key anywhere', async () => {
    const { doors, gateway } = await start();
    script({ 0: [401] });
    const { completion } = await doors.named('grpc unary').ask(alone);
    expect(completion?.attempts).toMatchObject([
      { provider: 'keyed', outcome: AttemptOutcome.FAILED, reason: 'provider_misconfigured' },
      { provider: 'keyed', outcome: AttemptOutcome.SUCCEEDED },
    ]);
    for (const key of keys) expect(JSON.stringify(gateway.lines)).not.toContain(key);
  });

  it('of which one is limited for a moment use it again after that', async () => {
    const { doors } = await start();
    script({ 0: [429, { 'retry-after-ms': '300' }] });
    const { ask } = doors.named('openai unary');
    await ask(alone);
    script({});
    const nextKey = async () => {
      await ask(alone);
      return shown().at(-1);
    };
    await expect.poll(nextKey).toBe(0);
  });

  it('that are all limited make the provider cool down until the first of them is ready', async () => {
    const { doors } = await start();
    script({ 0: [429, { 'retry-after': '30' }], 1: [429, { 'retry-after': '20' }], 2: [429, { 'retry-after': '40' }] });
    const { ask } = doors.named('openai unary');
    const { failure, headers } = await ask(alone);
    expect([failure?.status, failure?.reason, headers['retry-after']]).toEqual([429, 'provider_rate_limited', '20']);
    expect([...shown()].sort()).toEqual([0, 1, 2]);
    expect((await ask({ model: 'scripted-model' })).told.text).toBe('from the other');
    expect(upstream.requests).toHaveLength(3);
  });

  it('that are all refused lead to the next provider, and are 502 without one', async () => {
    const { doors } = await start();
    script({ 0: [401], 1: [401], 2: [401] });
    const { ask } = doors.named('openai unary');
    expect((await ask({ model: 'scripted-model' })).told.text).toBe('from the other');
    expect((await ask(alone)).failure).toMatchObject({ status: 502, reason: 'provider_misconfigured' });
  });
});
