import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { GatewayProcess } from '../support/gateway.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { type ScriptedUpstream, startScriptedUpstream } from '../support/scripted-upstream.ts';
import { answering, ask, startLimitedProcess } from './limited-gateway.ts';

const CALLS_PER_SECOND = 100;
/** What the first window of an outage may cost: a timeout, once. */
const FIRST_WINDOW_MS = 150;
/** Less than that timeout: whoever still waited for Redis would be seen. The rest is for a machine that others use, too. */
const NOISE_MS = 60;

const tiers = [{ name: 'all', capacity: 1_000_000, tokens_per_minute: 1_000_000_000, max_concurrent: 100_000 }];
const keys = { team: { tier: 'all', budget_usd: 1_000_000 } };
const prices = { input: 1, output: 1 };

describe.skipIf(withoutRedis)('at 100 calls a second, a Redis', () => {
  let upstream: ScriptedUpstream;
  let redis: RedisServer;
  let gateway: GatewayProcess;

  beforeAll(async () => {
    upstream = answering(await startScriptedUpstream());
  });
  afterAll(() => upstream.close());
  beforeEach(async () => {
    redis = await startRedis();
    gateway = await startLimitedProcess({ upstream, tiers, keys, prices, state: { redis_url: redis.url } });
    await load(500);
  });
  afterEach(async () => {
    redis.process.kill('SIGCONT');
    await gateway.close();
    await redis.close();
  });

  /**
   * Call for a while; the time that all but one of a hundred calls took in the gateway, as its log tells: what this process
   * takes to ask is no matter of limits. Fails if a call fails.
   */
  async function load(ms: number): Promise<number> {
    const before = gateway.lines.length;
    const began = performance.now();
    const calls: ReturnType<typeof ask>[] = [];
    while (performance.now() - began < ms) {
      calls.push(ask(gateway, 'team', { max_tokens: 10 }));
      await pause(Math.max(1, began + (calls.length * 1000) / CALLS_PER_SECOND - performance.now()));
    }
    const answers = await Promise.all(calls);
    for (const { status, body } of answers) expect([status, body.error]).toEqual([200, undefined]);
    const times = () =>
      gateway.lines.slice(before).flatMap(({ msg, duration_ms: took }) => (msg === 'call' ? [took] : []));
    await expect.poll(() => times().length).toBe(calls.length);
    const sorted = times()
      .map(Number)
      .sort((one, other) => one - other);
    return sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0;
  }

  function timesBack(): number {
    return gateway.lines.filter(({ msg }) => msg === 'Redis answers').length;
  }

  const faults: [string, { begin: () => unknown; end: () => unknown }][] = [
    [
      'that is killed, and restarts empty,',
      {
        begin: () => redis.kill(),
        end: async () => {
          redis = await startRedis([], redis.port);
        },
      },
    ],
    ['that is stopped', { begin: () => redis.process.kill('SIGSTOP'), end: () => redis.process.kill('SIGCONT') }],
    ['that is slowed by two seconds', { begin: () => redis.command('CLIENT', 'PAUSE', '2000', 'ALL'), end: () => {} }],
    [
      'that is made read-only',
      {
        begin: () => redis.command('REPLICAOF', '127.0.0.1', '1'),
        end: () => redis.command('REPLICAOF', 'NO', 'ONE'),
      },
    ],
    [
      'that is out of memory',
      {
        begin: () => redis.command('CONFIG', 'SET', 'maxmemory', '1'),
        end: () => redis.command('CONFIG', 'SET', 'maxmemory', '0'),
      },
    ],
  ];

  it.each(faults)(
    '%s fails no call, costs a timeout once, and is used again when it is back',
    // Others may keep the machine busy for longer than a timeout.
    { timeout: 30_000, retry: 2 },
    async (_, fault) => {
      const healthy = await load(1000);
      const back = timesBack();

      const firstWindow = load(1000);
      await fault.begin();
      expect(await firstWindow).toBeLessThan(healthy + FIRST_WINDOW_MS);
      expect(gateway.lines.filter(({ msg }) => msg === 'Redis is away').map(({ level }) => level)).toEqual(['warn']);
      expect(await load(1000)).toBeLessThan(healthy + NOISE_MS);

      await fault.end();
      for (let tries = 0; timesBack() === back; tries++) {
        if (tries > 100) throw new Error('Redis is not used again after 10 s');
        await pause(100);
      }
      await redis.command('CONFIG', 'RESETSTAT');
      expect(await load(500)).toBeLessThan(healthy + NOISE_MS);
      expect(String(await redis.command('INFO', 'commandstats'))).toMatch(/cmdstat_evalsha:calls=[1-9]\d{1,}/);
    },
  );

  it('that was never there keeps nobody from starting, and is used once it is there', { timeout: 30_000 }, async () => {
    await redis.kill();
    const early = await startLimitedProcess({ upstream, tiers, keys, prices, state: { redis_url: redis.url } });
    expect((await ask(early, 'team')).status).toBe(200);
    expect((await fetch(`${early.url}/readyz`)).status).toBe(200);
    redis = await startRedis([], redis.port);
    for (let tries = 0; !early.lines.some(({ msg }) => msg === 'Redis answers'); tries++) {
      if (tries > 100) throw new Error('Redis is not used after 10 s');
      await pause(100);
    }
    await early.close();
  });

  it('that is away refuses with a second to wait where limits are closed', async () => {
    const state = { redis_url: redis.url, on_outage: 'closed' };
    const closed = await startLimitedProcess({ upstream, tiers, keys, prices, state });
    expect((await ask(closed, 'team', { max_tokens: 10 })).status).toBe(200);
    await redis.kill();
    const refused = await ask(closed, 'team', { max_tokens: 10 });
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.body.error?.metadata?.reason).toBe('overloaded');
    await closed.close();
  });
});
