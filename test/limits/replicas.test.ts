import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Holding, Limit } from '../../src/store/store.ts';
import { openRedisLimits } from '../store/open-redis.ts';
import type { GatewayProcess } from '../support/gateway.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { chunk, type Exchange, type ScriptedUpstream, startScriptedUpstream } from '../support/scripted-upstream.ts';
import {
  type Answered,
  answering,
  ask,
  authorization,
  type LimitedOptions,
  startLimitedProcess,
} from './limited-gateway.ts';

const LEASE_MS = 20_000;

describe.skipIf(withoutRedis)('replicas on one Redis', () => {
  let redis: RedisServer;
  let upstream: ScriptedUpstream;
  let replicas: GatewayProcess[] = [];

  beforeAll(async () => {
    redis = await startRedis();
    upstream = await startScriptedUpstream();
  });
  afterEach(async () => {
    await Promise.all(replicas.map((replica) => replica.close()));
    await redis.command('FLUSHALL');
  });
  afterAll(async () => {
    await redis?.close();
    await upstream?.close();
  });

  async function start(count: number, more: Omit<LimitedOptions, 'upstream'>): Promise<void> {
    const options = { upstream, state: { redis_url: redis.url, replicas: count }, ...more };
    replicas = await Promise.all(Array.from({ length: count }, () => startLimitedProcess(options)));
  }

  /** So many calls at once, spread over the replicas. */
  async function askAll(
    calls: number,
    key: string,
    body: object = {},
  ): Promise<{ answers: Answered[]; seconds: number }> {
    const began = performance.now();
    const answers = await Promise.all(
      Array.from({ length: calls }, (_, call) => ask(replicas[call % replicas.length] as GatewayProcess, key, body)),
    );
    return { answers, seconds: (performance.now() - began) / 1000 };
  }

  function admitted(answers: readonly Answered[]): number {
    const statuses = new Set(answers.map(({ status }) => status));
    expect([...statuses].filter((status) => status !== 200 && status !== 429)).toEqual([]);
    return answers.filter(({ status }) => status === 200).length;
  }

  /** How limits stand once every call is settled: nothing is reserved any more. */
  async function settled(...limits: Limit[]): Promise<readonly Holding[]> {
    const store = await openRedisLimits(redis.url, { keyPrefix: 'llmgw:' });
    for (let tries = 0; ; tries++) {
      const holdings = await store.look(limits);
      if (tries > 50 || holdings.every(({ reserved }) => reserved === 0)) {
        await store.close();
        expect(holdings.map(({ reserved }) => reserved)).toEqual(limits.map(() => 0));
        return holdings;
      }
      await pause(20);
    }
  }

  it('let in what one bucket holds and what refills it, of 300 callers at once', { timeout: 60_000 }, async () => {
    answering(upstream);
    const refill = 10;
    const tiers = [{ name: 'shared', capacity: 100, refill_per_second: refill }];
    await start(3, { tiers, keys: { team: { tier: 'shared' }, other: {} } });
    await askAll(3, 'other');

    const { answers, seconds } = await askAll(300, 'team');

    const count = admitted(answers);
    expect(count).toBeGreaterThanOrEqual(100);
    expect(count).toBeLessThanOrEqual(100 + refill * seconds + 1);
    for (const { status, headers } of answers) {
      if (status === 429) expect(Number(headers.get('retry-after-ms'))).toBeGreaterThan(0);
    }
  });

  /** Answers after a while, so that all calls are under way at once, with as many tokens as a call may take. */
  function answeringSlowly(completionTokens: number): void {
    upstream.script(async (exchange: Exchange) => {
      await pause(1500);
      const usage = { prompt_tokens: 1, completion_tokens: completionTokens, total_tokens: 1 + completionTokens };
      const choices = [{ index: 0, message: { role: 'assistant', content: 'x' }, finish_reason: 'stop' }];
      exchange.json({ id: 'u', object: 'chat.completion', created: 1, model: 'scripted-model', choices, usage });
    });
  }

  it('spend no more than a budget, of 100 callers at once', { timeout: 60_000 }, async () => {
    answeringSlowly(10);
    // A call of 10 tokens of answer costs USD 0.01.
    await start(3, { prices: { input: 0, output: 1000 }, keys: { team: { budget_usd: 0.45 }, other: {} } });

    const { answers } = await askAll(100, 'team', { max_tokens: 10 });

    expect(admitted(answers)).toBe(45);
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.body.error).toMatchObject({ type: 'insufficient_quota', code: 'insufficient_quota' });
    const periodMs = 30 * 24 * 3_600_000;
    const [budget] = await settled({
      kind: 'budget',
      subject: 'key:team',
      name: 'budget',
      capacity: 0.45e9,
      periodMs,
      amount: 0,
    });
    expect(budget?.remaining).toBe(0);
    expect((await ask(replicas[0] as GatewayProcess, 'team', { max_tokens: 10 })).status).toBe(429);
  });

  it('let in again what calls did not spend', { timeout: 60_000 }, async () => {
    answeringSlowly(2);
    await start(2, { prices: { input: 0, output: 1000 }, keys: { team: { budget_usd: 0.1 } } });
    const first = await askAll(20, 'team', { max_tokens: 10 });
    expect(admitted(first.answers)).toBe(10);
    const second = await askAll(20, 'team', { max_tokens: 10 });
    expect(admitted(second.answers)).toBe(8);
  });

  it('take no more tokens than there are, of 60 callers at once', { timeout: 60_000 }, async () => {
    answeringSlowly(5);
    const perMinute = 1000;
    const tiers = [{ name: 'tokens', capacity: 1000, tokens_per_minute: perMinute }];
    await start(3, { tiers, keys: { team: { tier: 'tokens' } } });

    const { answers, seconds } = await askAll(60, 'team', { max_tokens: 99 });

    const count = admitted(answers);
    const refilled = (perMinute / 60) * seconds;
    expect(count).toBeGreaterThanOrEqual(10);
    expect(count).toBeLessThanOrEqual((perMinute + refilled) / 100);
    const refillPerMs = perMinute / 60_000;
    const limit = {
      kind: 'tokens',
      subject: 'key:team',
      name: 'tokens',
      capacity: perMinute,
      refillPerMs,
      amount: 0,
    } as const;
    const [tokens] = await settled(limit);
    expect(tokens?.remaining).toBeGreaterThanOrEqual(perMinute - count * 6);
  });

  it('are free of what a killed one held after its lease, and its callers see their connections cut, nobody else anything', {
    timeout: 90_000,
  }, async () => {
    // Streams that go on until somebody ends them.
    upstream.script((exchange: Exchange) => exchange.event(chunk({ content: 'x' })));
    const tiers = [{ name: 'slots', max_concurrent: 10 }];
    await start(2, { tiers, keys: { team: { tier: 'slots' } } });
    const [killed, other] = replicas as [GatewayProcess, GatewayProcess];
    const cut = await Promise.all(Array.from({ length: 6 }, () => openStream(killed, 'team')));
    const kept = await Promise.all(Array.from({ length: 4 }, () => openStream(other, 'team')));
    expect((await ask(other, 'team')).status).toBe(429);

    await killed.close();
    const killedAt = performance.now();

    expect(await Promise.all(cut.map(({ end }) => end))).toEqual(cut.map(() => 'cut'));
    expect((await ask(other, 'team')).status).toBe(429);
    answering(upstream);
    let status = 429;
    while (status === 429 && performance.now() - killedAt < LEASE_MS + 3000) {
      await pause(250);
      ({ status } = await ask(other, 'team'));
    }
    expect(status).toBe(200);
    expect(performance.now() - killedAt).toBeLessThan(LEASE_MS + 3000);
    // Those of the living were renewed, and are still there.
    const slots = { kind: 'concurrent', subject: 'key:team', name: 'concurrent', capacity: 10, amount: 1 } as const;
    const store = await openRedisLimits(redis.url, { keyPrefix: 'llmgw:' });
    expect(await store.look([slots])).toMatchObject([{ reserved: 4 }]);
    await store.close();
    for (const { leave } of kept) leave();
    await settled(slots);
  });
});

/** A stream that has begun; `end` resolves with how it ended. */
async function openStream({ url }: GatewayProcess, key: string): Promise<{ end: Promise<string>; leave: () => void }> {
  const left = new AbortController();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    signal: left.signal,
    headers: { 'content-type': 'application/json', ...authorization(key) },
    body: JSON.stringify({ model: 'scripted-model', stream: true, messages: [{ role: 'user', content: 'hi' }] }),
  });
  expect(response.status).toBe(200);
  const end = response.text().then(
    () => 'whole',
    () => 'cut',
  );
  return { end, leave: () => left.abort() };
}
