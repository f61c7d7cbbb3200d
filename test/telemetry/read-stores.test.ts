import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answering, ask, authorization, startLimited } from '../limits/limited-gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { startRedis, withoutRedis } from '../support/redis-server.ts';
import { type ScriptedUpstream, startScriptedUpstream } from '../support/scripted-upstream.ts';
import { readExposition, type Sample, total } from './read-exposition.ts';

/** A prompt of 5 tokens costs USD 5, its answer nothing. */
const prices = { input: 1e6, output: 0 };
const keys = { team: { budget_usd: 20 }, broke: { budget_usd: 0 }, free: {}, boss: { admin: true } };

async function scrape({ url }: TestGateway): Promise<Sample[]> {
  const answer = await fetch(`${url}/metrics`, { headers: { accept: 'text/plain', ...authorization('boss') } });
  return readExposition(await answer.text());
}

describe('the metrics', () => {
  let upstream: ScriptedUpstream;

  beforeEach(async () => {
    upstream = answering(await startScriptedUpstream());
  });
  afterEach(() => upstream.close());

  it('tell how much keys have used of their budgets, and nothing of a Redis that is not there', async () => {
    const gateway = await startLimited({ upstream, keys, prices });
    await ask(gateway, 'team');
    await ask(gateway, 'free');
    const samples = await scrape(gateway);
    const used = samples.filter(({ name }) => name === 'gateway_budget_used');
    expect(used.map(({ labels, value }) => [labels.gateway_key, value]).sort()).toEqual([
      ['broke', 1],
      ['team', 0.25],
    ]);
    expect(samples.filter(({ name }) => name.startsWith('gateway_redis'))).toEqual([]);
    await gateway.close();
  });

  it.skipIf(withoutRedis)('tell whether Redis is there, and how long it takes', { timeout: 20_000 }, async () => {
    const redis = await startRedis();
    const gateway = await startLimited({ upstream, keys, prices, state: { redis_url: redis.url } });
    await ask(gateway, 'team');
    const before = await scrape(gateway);
    expect(total(before, 'gateway_redis_up')).toBe(1);
    expect(total(before, 'gateway_budget_used', { gateway_key: 'team' })).toBe(0.25);
    const scripts = { gateway_redis_command: 'EVALSHA' };
    const count = total(before, 'gateway_redis_duration_count', scripts);
    expect(count).toBeGreaterThan(0);
    expect(total(before, 'gateway_redis_duration_sum', scripts)).toBeLessThan(count * 0.075);
    expect(total(before, 'gateway_redis_duration_count', { error_type: 'away' })).toBe(0);

    redis.process.kill('SIGSTOP');
    await ask(gateway, 'team');
    const after = await scrape(gateway);
    redis.process.kill('SIGCONT');
    expect(total(after, 'gateway_redis_up')).toBe(0);
    const failed = { gateway_redis_command: 'EVALSHA', error_type: 'away' };
    expect(total(after, 'gateway_redis_duration_count', failed)).toBeGreaterThan(0);
    expect(total(after, 'gateway_redis_duration_sum', failed)).toBeGreaterThan(0.07);
    await gateway.close();
    await redis.close();
  });
});
