import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import {
  chunk,
  type Exchange,
  type ScriptedUpstream,
  saying,
  startScriptedUpstream,
} from '../support/scripted-upstream.ts';
import { watchStandstills } from '../support/standstill.ts';

const DELAY_MS = 100;
/** The longest that the slower one may stay open. */
const LOSER_MS = 250;

let first: ScriptedUpstream;
let second: ScriptedUpstream;
let third: ScriptedUpstream;
beforeEach(async () => {
  first = await startScriptedUpstream();
  second = await startScriptedUpstream();
  third = await startScriptedUpstream();
  second.script(saying('from the second'));
  third.script(saying('from the third'));
});
afterEach(() => Promise.all([first.close(), second.close(), third.close()]));

/** Three targets in order, of which calls hedge. Every call by another name is at another model. */
async function start(more: Record<string, object> = {}) {
  const names = ['first', 'second', 'third'] as const;
  const upstreams = { first, second, third };
  const started = await startGatewayOver(
    names.map((name) => scriptedProvider(name, upstreams[name])),
    {
      routes: [
        {
          model: 'hedged*',
          strategy: 'failover',
          hedge: { delay: `${DELAY_MS}ms` },
          targets: names.map((provider) => ({ provider, model: '' })),
        },
      ],
      ...more,
    },
  );
  onTestFinished(() => started.close());
  return started;
}

const active = (gateway: Awaited<ReturnType<typeof start>>) =>
  gateway.gateway.app.gateway.listProviders().map(({ status }) => status?.activeRequests);

describe('a hedge', () => {
  it('asks one more target after the delay, at every door, and the slower one is closed within 250 ms', async () => {
    const gateway = await start();
    first.script(undefined);
    const standstills = watchStandstills();
    onTestFinished(() => standstills.stop());
    await gateway.doors.named('grpc unary').ask({ model: 'warm-up', provider: 'second' });
    for (const { name, ask } of gateway.doors.all) {
      const began = performance.now();
      const { failure, told, completion, headers } = await ask({ model: `hedged-${name.replace(' ', '-')}` });
      const tookMs = performance.now() - began;
      const stoodMs = standstills.since(began);
      const loser = await first.next();
      expect([name, failure, told.text]).toEqual([name, undefined, 'from the second']);
      expect([name, tookMs > DELAY_MS - 5, tookMs - stoodMs < DELAY_MS + 200]).toEqual([name, true, true]);
      const answered = performance.now();
      expect((await loser.closed).left).toBe(true);
      expect(performance.now() - answered).toBeLessThan(LOSER_MS);
      if (completion) {
        expect(completion.attempts).toMatchObject([
          { provider: 'first', outcome: AttemptOutcome.CANCELLED },
          { provider: 'second', outcome: AttemptOutcome.SUCCEEDED },
        ]);
      } else expect([name, headers['x-gateway-attempts']]).toEqual([name, '2']);
    }
    expect(third.requests).toEqual([]);
    await expect.poll(() => active(gateway)).toEqual([0, 0, 0]);
    // To be slower than another one is no failure.
    expect(gateway.gateway.app.gateway.circuitBreakerOf('first').whole.totalFailures).toBe(0);
  });

  it('is not made where the first target is in time', async () => {
    const { doors } = await start();
    first.script((exchange) => pause(DELAY_MS / 2).then(() => saying('from the first')(exchange)));
    for (const { name, ask } of doors.all)
      expect([name, (await ask({ model: 'hedged' })).told.text]).toEqual([name, 'from the first']);
    expect(second.requests).toEqual([]);
  });

  it('is called off when the first one commits after all, and its text comes once', async () => {
    const gateway = await start();
    second.script(undefined);
    first.script(async (exchange) => {
      await pause(2 * DELAY_MS);
      await saying('from ', 'the ', 'first')(exchange);
    });
    for (const name of ['openai stream', 'grpc unary']) {
      const { failure, told } = await gateway.doors.named(name).ask({ model: 'hedged' });
      expect([failure, told.text]).toEqual([undefined, 'from the first']);
      expect((await (await second.next()).closed).left).toBe(true);
    }
    await expect.poll(() => active(gateway)).toEqual([0, 0, 0]);
  });

  it('goes on with the other one when one of both fails', async () => {
    const { doors } = await start();
    const failing = (exchange: Exchange) => pause(1.5 * DELAY_MS).then(() => exchange.text('', 503));
    const late = (text: string) => (exchange: Exchange) => pause(3 * DELAY_MS).then(() => saying(text)(exchange));
    first.script(failing);
    second.script(late('from the second'));
    expect((await doors.named('openai stream').ask({ model: 'hedged-a' })).told.text).toBe('from the second');
    first.script(late('from the first'));
    second.script(failing);
    expect((await doors.named('openai stream').ask({ model: 'hedged-b' })).told.text).toBe('from the first');
    expect(third.requests).toEqual([]);
  });

  it('goes on to the next target when both fail', async () => {
    const { doors } = await start({ retry: { attempts_per_target: 1 } });
    for (const each of [first, second])
      each.script((exchange) => pause(1.5 * DELAY_MS).then(() => exchange.text('', 503)));
    expect((await doors.named('openai stream').ask({ model: 'hedged' })).told.text).toBe('from the third');
  });

  it('is never made for several answers', async () => {
    const { doors } = await start();
    first.script((exchange) => pause(3 * DELAY_MS).then(() => saying('from the first')(exchange)));
    for (const name of ['openai unary', 'openai stream', 'grpc unary', 'grpc stream']) {
      expect([name, (await doors.named(name).ask({ model: 'hedged', n: 2 })).told.text]).toEqual([
        name,
        'from the first',
      ]);
    }
    expect(second.requests).toEqual([]);
  });

  it('is never made without fallback', async () => {
    const { doors } = await start();
    first.script((exchange) => pause(3 * DELAY_MS).then(() => saying('from the first')(exchange)));
    expect((await doors.named('openai unary').ask({ model: 'hedged', fallback: false })).told.text).toBe(
      'from the first',
    );
    expect(second.requests).toEqual([]);
  });

  it('takes from the budget of the first target: in steady slowness a fifth of the calls, and three, are hedged', async () => {
    const { doors } = await start();
    first.script((exchange) => pause(1.5 * DELAY_MS).then(() => saying('from the first')(exchange)));
    second.script((exchange) => pause(DELAY_MS).then(() => saying('from the second')(exchange)));
    const { ask } = doors.named('openai unary');
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 20 }, () => ask({ model: 'hedged' })));
    }
    expect(first.requests).toHaveLength(100);
    expect(second.requests.length).toSatisfy((count: number) => count >= 12 && count <= 20);
  });

  it('leaves the caller who leaves nothing open', async () => {
    const gateway = await start();
    first.script(undefined);
    second.script(undefined);
    const leaving = new AbortController();
    const left = gateway.doors.named('grpc stream').ask({ model: 'hedged', signal: leaving.signal });
    const open = await Promise.all([first.next(), second.next()]);
    leaving.abort();
    const began = performance.now();
    for (const exchange of open) expect((await exchange.closed).left).toBe(true);
    expect(performance.now() - began).toBeLessThan(LOSER_MS);
    await left;
    expect(third.requests).toEqual([]);
    await expect.poll(() => active(gateway)).toEqual([0, 0, 0]);
  });

  it('does not mix answers, whoever wins', async () => {
    const { doors } = await start();
    const stuttering = (name: string, longestMs: number) => async (exchange: Exchange) => {
      await pause(longestMs * Math.random());
      for (let word = 0; word < 5; word++) {
        await exchange.event(chunk({ content: `${name}${word} ` }));
        await pause(5);
      }
      await exchange.event(chunk({}, 'stop'));
      exchange.done();
    };
    first.script(stuttering('a', 6 * DELAY_MS));
    second.script(stuttering('b', DELAY_MS));
    const { ask } = doors.named('openai stream');
    const texts = await Promise.all(
      Array.from({ length: 60 }, async (_, call) => (await ask({ model: `hedged-${call}` })).told.text),
    );
    for (const text of texts) expect(text).toMatch(/^(a0 a1 a2 a3 a4 |b0 b1 b2 b3 b4 )$/);
    expect(new Set(texts).size).toBe(2);
  });
});
