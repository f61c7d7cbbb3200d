import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { CircuitState } from '../../gen/llmgateway/v1/provider_pb.ts';
import { freshName, scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import {
  chunk,
  type Exchange,
  type ScriptedUpstream,
  saying,
  startScriptedUpstream,
} from '../support/scripted-upstream.ts';

let odd: ScriptedUpstream;
let good: ScriptedUpstream;
beforeEach(async () => {
  odd = await startScriptedUpstream();
  good = await startScriptedUpstream();
  good.script(saying('from the good one'));
});
afterEach(() => Promise.all([odd.close(), good.close()]));

/** A gateway that asks the odd one first, by any name `both-…`, each of which is a target of its own. */
async function start(more: Record<string, object> = {}) {
  const targets = [
    { provider: 'odd', model: '' },
    { provider: 'good', model: '' },
  ];
  const started = await startGatewayOver([scriptedProvider('odd', odd), scriptedProvider('good', good)], {
    routes: [{ model: 'both-*', strategy: 'failover', targets }],
    ...more,
  });
  onTestFinished(() => started.close());
  const { circuitBreakerOf } = started.gateway.app.gateway;
  return {
    ...started,
    breaker: () => circuitBreakerOf('odd').whole,
    /** Call as often and as many at once as told, always the same target; tells what came and how long the longest took. */
    calls: async (door: string, count: number, atOnce = 1) => {
      const model = freshName();
      const call = async (often: number) => {
        const tookMs: number[] = [];
        const texts: string[] = [];
        let next = 0;
        const lane = async () => {
          while (next++ < often) {
            const began = performance.now();
            const { failure, told } = await started.doors.named(door).ask({ model });
            tookMs.push(performance.now() - began);
            texts.push(failure ? `failed: ${failure.reason}` : told.text);
          }
        };
        await Promise.all(Array.from({ length: atOnce }, lane));
        return { texts, longestMs: Math.max(...tookMs) };
      };
      return { ...(await call(count)), more: call };
    },
  };
}

const doors = ['openai stream', 'native unary', 'grpc stream'];

describe('a provider that flaps', () => {
  it('lets no caller fail or wait, and is asked in vain no more often than with success', {
    timeout: 20_000,
  }, async () => {
    const FLAP_MS = 250;
    const flaps = 20;
    const gateway = await start({ breaker: { open_for: '100ms', max_open_for: '2s', window: '10s' } });
    let isUp = false;
    let failed = 0;
    let answered = 0;
    odd.script((exchange) => {
      if (!isUp) {
        failed++;
        exchange.text('', 503);
        return;
      }
      answered++;
      saying('from the odd one')(exchange);
    });
    const flapping = setInterval(() => {
      isUp = !isUp;
    }, FLAP_MS);
    onTestFinished(() => clearInterval(flapping));

    const model = freshName();
    const began = performance.now();
    let longestMs = 0;
    const lanes = Array.from({ length: 5 }, async () => {
      while (performance.now() - began < flaps * FLAP_MS) {
        const called = performance.now();
        const { failure } = await gateway.doors.named('openai unary').ask({ model });
        expect(failure).toBeUndefined();
        longestMs = Math.max(longestMs, performance.now() - called);
        await pause(5);
      }
    });
    await Promise.all(lanes);
    const { timesOpened } = gateway.breaker();
    // It opens when half of what it saw has failed, and ten calls at least; those under way then fail, too.
    expect(failed).toBeLessThanOrEqual(answered + 20 * timesOpened);
    // It stays open for longer each time.
    expect(timesOpened).toBeLessThan(flaps / 2);
    // One backoff before the retry.
    expect(longestMs).toBeLessThan(600);
  });
});

describe('a provider that is slow but does not fail', () => {
  it('is left alone once most of its answers are slow', async () => {
    const gateway = await start({ breaker: { slow_call: '100ms', open_for: '60s' } });
    odd.script((exchange) => pause(150).then(() => saying('from the odd one')(exchange)));
    const calls = await gateway.calls('openai stream', 15, 5);
    expect(calls.texts.filter((text) => !/^from the (odd|good) one$/.test(text))).toEqual([]);
    expect(gateway.breaker()).toMatchObject({ state: CircuitState.OPEN, reason: 'slow_calls', totalFailures: 0 });
    const asked = odd.requests.length;
    const { texts, longestMs } = await calls.more(20);
    expect(new Set(texts)).toEqual(new Set(['from the good one']));
    expect(longestMs).toBeLessThan(150);
    expect(odd.requests.length).toBe(asked);
  });

  it('gets fewer calls where latency decides', { timeout: 20_000 }, async () => {
    const gateway = await start({ routing: { default_strategy: 'least_latency' } });
    odd.script((exchange) => pause(100).then(() => saying('from the odd one')(exchange)));
    const { ask } = gateway.doors.named('openai unary');
    const firsts: string[] = [];
    for (let call = 0; call < 40; call++) firsts.push((await ask({ model: 'scripted-model' })).told.text);
    expect(firsts.filter((text) => text === 'from the odd one').length).toBeLessThanOrEqual(3);
  });
});

describe('a provider that hangs', () => {
  it.each(doors)('keeps a caller at %s no longer than its limit, and after ten of them nobody', async (door) => {
    const gateway = await start({
      timeouts: { first_token: '200ms', attempt_unary: '200ms' },
      breaker: { open_for: '60s' },
    });
    odd.script(() => {});
    const model = freshName();
    const { ask } = gateway.doors.named(door);
    const some = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const began = performance.now();
        const { failure, told } = await ask({ model });
        return { failure, text: told.text, tookMs: performance.now() - began };
      }),
    );
    for (const { failure, text, tookMs } of some) {
      expect([failure, text]).toEqual([undefined, 'from the good one']);
      expect(tookMs).toBeLessThan(200 + 400);
    }
    expect(odd.requests).toHaveLength(10);
    const began = performance.now();
    for (let call = 0; call < 10; call++) expect((await ask({ model })).told.text).toBe('from the good one');
    expect(performance.now() - began).toBeLessThan(190);
    expect(odd.requests).toHaveLength(10);
    await expect.poll(() => odd.openAnswers()).toBe(0);
  });
});

describe('a provider that sends one token a minute', () => {
  /** A minute of this test. */
  const MINUTE_MS = 400;

  it('is cut at the idle limit after what it has said: its first word came in time', async () => {
    const gateway = await start({ timeouts: { first_token: '300ms', idle: '150ms' } });
    odd.script(async (exchange) => {
      for (let word = 0; word < 5; word++) {
        await exchange.event(chunk({ content: `word ${word} ` }));
        await pause(MINUTE_MS);
      }
    });
    for (const door of gateway.doors.all.filter(({ streaming }) => streaming)) {
      const began = performance.now();
      const { failure, told } = await door.ask({ model: freshName() });
      expect([door.name, failure?.reason, told.text]).toEqual([door.name, 'provider_timeout', 'word 0 ']);
      expect(performance.now() - began).toSatisfy((ms: number) => ms > 140 && ms < MINUTE_MS);
    }
    expect(good.requests).toEqual([]);
    await expect.poll(() => odd.openAnswers()).toBe(0);
  });

  it('and says nothing until then is left for the next one', async () => {
    const gateway = await start({ timeouts: { first_token: '150ms' } });
    odd.script(async (exchange) => {
      exchange.head();
      await pause(MINUTE_MS);
      await saying('too late')(exchange);
    });
    for (const door of gateway.doors.all.filter(({ streaming }) => streaming)) {
      const began = performance.now();
      const { failure, told } = await door.ask({ model: freshName() });
      expect([door.name, failure, told.text]).toEqual([door.name, undefined, 'from the good one']);
      expect(performance.now() - began).toBeLessThan(MINUTE_MS);
    }
  });

  it('of signs of life only is not taken for one that answers', async () => {
    const gateway = await start({ timeouts: { first_token: '200ms' } });
    odd.script(async (exchange) => {
      const gone = exchange.closed.then(() => true);
      while (!(await Promise.race([gone, exchange.write(': alive\n\n').then(() => pause(20))])));
    });
    const { failure, told } = await gateway.doors.named('grpc stream').ask({ model: freshName() });
    expect([failure, told.text]).toEqual([undefined, 'from the good one']);
    await expect.poll(() => odd.openAnswers()).toBe(0);
  });
});

describe('a provider whose first chunk is an error', () => {
  it.each<[string, (exchange: Exchange) => unknown, number]>([
    [
      'of a server',
      (exchange) => exchange.event({ error: { message: 'overloaded', code: 503 } }).then(() => exchange.done()),
      3,
    ],
    [
      'of a limit',
      (exchange) => exchange.event({ error: { message: 'slow down', code: 429 } }).then(() => exchange.done()),
      2,
    ],
    [
      'after an empty delta',
      async (exchange) => {
        await exchange.event(chunk({ role: 'assistant', content: '' }));
        await exchange.event({ error: { message: 'overloaded', type: 'server_error' } });
        exchange.done();
      },
      3,
    ],
  ])('%s is not committed to: the next one answers, whole and alone', async (_, script, attempts) => {
    const gateway = await start();
    odd.script(script);
    for (const door of gateway.doors.all.filter(({ streaming }) => streaming)) {
      const { failure, told, completion } = await door.ask({ model: freshName() });
      expect([door.name, failure, told.text]).toEqual([door.name, undefined, 'from the good one']);
      if (completion) expect([completion.provider, completion.attempts.length]).toEqual(['good', attempts]);
    }
  });
});
