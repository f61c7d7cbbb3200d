import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import { type ScriptedUpstream, saying, startScriptedUpstream } from '../support/scripted-upstream.ts';

let first: ScriptedUpstream;
let second: ScriptedUpstream;
beforeEach(async () => {
  first = await startScriptedUpstream();
  second = await startScriptedUpstream();
  first.script(saying('from the first'));
  second.script(saying('from the second'));
});
afterEach(() => Promise.all([first.close(), second.close()]));

interface Limits {
  readonly requests_per_minute?: number;
  readonly requests_per_second?: number;
  readonly max_concurrent?: number;
}

async function start(ofFirst?: Limits, ofSecond?: Limits, more: Record<string, object> = {}) {
  const started = await startGatewayOver(
    [
      { ...scriptedProvider('first', first), ...(ofFirst && { limits: ofFirst }) },
      { ...scriptedProvider('second', second), ...(ofSecond && { limits: ofSecond }) },
    ],
    { routing: { default_strategy: 'failover' }, ...more },
  );
  onTestFinished(() => started.close());
  return started;
}

const call = { model: 'scripted-model' };
const alone = { ...call, provider: 'first', fallback: false };

describe.each([
  ['requests_per_minute', 55, 60],
  ['requests_per_second', 1, 1],
] as const)('%s', (limit, soonestSeconds, latestSeconds) => {
  it('reached, its provider is passed over for the next one, and nothing is sent to it', async () => {
    const { doors } = await start({ [limit]: 3 });
    const texts: string[] = [];
    for (let at = 0; at < 6; at++) texts.push((await doors.named('openai unary').ask(call)).told.text);
    expect(texts).toEqual([...Array(3).fill('from the first'), ...Array(3).fill('from the second')]);
    expect(first.requests).toHaveLength(3);

    const { completion } = await doors.named('grpc unary').ask(call);
    expect(completion?.attempts).toMatchObject([
      { provider: 'first', outcome: AttemptOutcome.SKIPPED, reason: 'provider_rate_limited' },
      { provider: 'second', outcome: AttemptOutcome.SUCCEEDED },
    ]);
  });

  it('reached by all, a call is 429 with Retry-After, at every door', async () => {
    const { doors } = await start({ [limit]: 1 }, { [limit]: 1 });
    for (const _ of 'ab') await doors.named('openai unary').ask(call);
    const outcomes = await Promise.all(doors.all.map(async ({ name, ask }) => ({ name, ...(await ask(call)) })));
    for (const { name, failure, headers } of outcomes) {
      expect([name, failure?.reason]).toEqual([name, 'provider_rate_limited']);
      expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? 429 : 'resource_exhausted']);
      if (failure?.status) {
        expect(Number(headers['retry-after'])).toSatisfy((s: number) => s >= soonestSeconds && s <= latestSeconds);
      }
    }
    expect([first.requests.length, second.requests.length]).toEqual([1, 1]);
  });
});

describe('requests_per_second', () => {
  it('is never exceeded, in whatever second one looks', { timeout: 20_000 }, async () => {
    const { doors } = await start({ requests_per_second: 20 });
    const sentAt: number[] = [];
    first.script((exchange) => {
      sentAt.push(performance.now());
      saying('from the first')(exchange);
    });
    const began = performance.now();
    const lanes = Array.from({ length: 8 }, async () => {
      while (performance.now() - began < 2_500) {
        expect((await doors.named('openai unary').ask(call)).failure).toBeUndefined();
        await pause(5);
      }
    });
    await Promise.all(lanes);
    // 70 where nothing else runs.
    expect(sentAt.length).toBeGreaterThanOrEqual(40);
    // Between the gateway's clock and ours lies the way over the network.
    for (const [at, time] of sentAt.entries())
      expect((sentAt[at + 20] ?? Number.POSITIVE_INFINITY) - time).toBeGreaterThan(950);
  });

  it('makes room again: a call that waits for limited targets goes on', async () => {
    const { doors } = await start({ requests_per_second: 1 }, undefined, { retry: { on_rate_limit: 'wait' } });
    await doors.named('openai unary').ask(alone);
    const began = performance.now();
    const { told, failure } = await doors.named('openai unary').ask(alone);
    expect([failure, told.text]).toEqual([undefined, 'from the first']);
    expect(performance.now() - began).toSatisfy((ms: number) => ms > 800 && ms < 1_500);
  });
});

describe('max_concurrent', () => {
  it('is never exceeded, and whoever is above it goes to the next provider at once', async () => {
    const { doors } = await start({ max_concurrent: 5 });
    first.script(undefined);
    const { ask } = doors.named('openai unary');
    const calls = Array.from({ length: 50 }, async () => (await ask(call)).told.text);
    await expect.poll(() => second.requests.length).toBe(45);
    expect(first.requests).toHaveLength(5);
    for (let held = 0; held < 5; held++) void saying('from the first')(await first.next());
    const texts = await Promise.all(calls);
    expect(texts.filter((text) => text === 'from the first')).toHaveLength(5);
    expect(texts.filter((text) => text === 'from the second')).toHaveLength(45);
  });

  it('lets calls wait for a second where there is nobody else, in their order', async () => {
    const { doors } = await start({ max_concurrent: 2 });
    first.script((exchange) => pause(200).then(() => saying('from the first')(exchange)));
    const { ask } = doors.named('openai unary');
    const endedAt: number[] = [];
    const began = performance.now();
    const outcomes = await Promise.all(
      Array.from({ length: 16 }, async () => {
        const { failure, headers } = await ask(alone);
        endedAt.push(performance.now() - began);
        return failure ? `${failure.status} after ${headers['retry-after']}` : 'answered';
      }),
    );
    // Two each 200 ms: those whose turn would come after a second have waited in vain.
    const answered = outcomes.filter((outcome) => outcome === 'answered').length;
    expect(answered).toSatisfy((count: number) => count >= 10 && count <= 12);
    expect(outcomes.filter((outcome) => outcome === '429 after 1')).toHaveLength(16 - answered);
    expect(Math.max(...endedAt)).toBeLessThan(1_500);
    expect(first.requests).toHaveLength(answered);
  });

  it('forgets who leaves the line', async () => {
    const { doors, gateway } = await start({ max_concurrent: 1 });
    first.script(undefined);
    const { ask } = doors.named('grpc unary');
    const holding = ask(alone);
    const exchange = await first.next();
    const status = () => gateway.app.gateway.listProviders()[0]?.status;
    const leaving = new AbortController();
    const left = Array.from({ length: 10 }, () => ask({ ...alone, signal: leaving.signal }));
    await expect.poll(() => status()?.queueLength).toBe(10);
    leaving.abort();
    await Promise.all(left);
    await expect.poll(() => status()?.queueLength).toBe(0);
    void saying('from the first')(exchange);
    expect((await holding).told.text).toBe('from the first');
    expect(first.requests).toHaveLength(1);
  });

  it('leaves a place for the question which models there are, however long the calls take', async () => {
    const { doors, gateway } = await start({ max_concurrent: 1 });
    first.script(undefined);
    const holding = doors.named('grpc unary').ask(alone);
    const exchange = await first.next();
    const began = performance.now();
    const { data } = (await (await fetch(`${gateway.url}/v1/models`)).json()) as { data: unknown[] };
    expect(data.length).toBeGreaterThan(0);
    expect(performance.now() - began).toBeLessThan(1_000);
    void saying('from the first')(exchange);
    await holding;
  });
});

describe('what a provider says of its own limits', () => {
  it('in a good answer keeps the next calls from it for as long', async () => {
    const { doors } = await start();
    first.script((exchange) =>
      exchange.json(
        { choices: [{ index: 0, message: { role: 'assistant', content: 'the last one' }, finish_reason: 'stop' }] },
        200,
        { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '700ms' },
      ),
    );
    const { ask } = doors.named('openai unary');
    expect((await ask(call)).told.text).toBe('the last one');
    expect((await ask(call)).told.text).toBe('from the second');
    await pause(750);
    expect((await ask(call)).told.text).toBe('the last one');
    expect(first.requests).toHaveLength(2);
  });
});
