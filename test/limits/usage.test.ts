import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Code, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AdminService } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import type { TestGateway } from '../support/gateway.ts';
import { startRedis, withoutRedis } from '../support/redis-server.ts';
import { chunk, type ScriptedUpstream, startScriptedUpstream } from '../support/scripted-upstream.ts';
import { answering, ask, authorization, startLimited, startLimitedProcess } from './limited-gateway.ts';

const keys = { team: { budget_usd: 12, budget_period: '7d' }, other: {}, boss: { admin: true } };
/** A prompt of 5 tokens costs USD 5, its answer nothing. */
const prices = { input: 1e6, output: 0 };

interface Report {
  readonly records: readonly Record<string, unknown>[];
  readonly total: Record<string, unknown>;
  readonly budgets: readonly Record<string, unknown>[];
}

async function usageOf({ url }: TestGateway, query = ''): Promise<Report> {
  const answer = await fetch(`${url}/admin/usage${query}`, { headers: authorization('boss') });
  expect(answer.status).toBe(200);
  return (await answer.json()) as Report;
}

describe('usage', () => {
  let upstream: ScriptedUpstream;
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-usage-'));

  beforeAll(async () => {
    upstream = answering(await startScriptedUpstream());
  });
  afterAll(async () => {
    await upstream.close();
    rmSync(folder, { recursive: true });
  });

  it('is told by key, provider, model and day, with what budgets have left', async () => {
    const gateway = await startLimited({ upstream, keys, prices });
    await ask(gateway, 'team');
    await ask(gateway, 'team');
    await ask(gateway, 'other');
    const { records, total, budgets } = await usageOf(gateway);
    const day = new Date().toISOString().slice(0, 10);
    const answered = { day, provider: 'scripted', model: 'scripted-model' };
    expect(records).toMatchObject([
      { ...answered, key: 'other', calls: 1, failed_calls: 0, prompt_tokens: 5, completion_tokens: 2, cost_usd: 5 },
      { ...answered, key: 'team', calls: 2, prompt_tokens: 10, completion_tokens: 4, cost_usd: 10, unpriced_calls: 0 },
    ]);
    expect(total).toMatchObject({ calls: 3, cost_usd: 15 });
    expect(budgets).toMatchObject([{ key: 'team', budget_usd: 12, spent_usd: 10, reserved_usd: 0 }]);
    await gateway.close();
  });

  it('is told by rpc', async () => {
    const gateway = await startLimited({ upstream, keys, prices });
    await ask(gateway, 'team');
    const transport = createConnectTransport({ baseUrl: gateway.url, httpVersion: '1.1', useBinaryFormat: true });
    const admin = createClient(AdminService, transport);
    const { records, total, budgets } = await admin.getUsage({ key: 'team' }, { headers: authorization('boss') });
    expect(records).toMatchObject([{ key: 'team', calls: 1, promptTokens: 5, costUsd: 5 }]);
    expect(total).toMatchObject({ calls: 1 });
    expect(budgets).toMatchObject([{ budgetUsd: 12, spentUsd: 5 }]);
    await expect(admin.getUsage({ fromDay: '2026-02-30' }, { headers: authorization('boss') })).rejects.toMatchObject({
      code: Code.InvalidArgument,
    });
    await expect(admin.getUsage({}, { headers: authorization('team') })).rejects.toMatchObject({
      code: Code.PermissionDenied,
    });
    await gateway.close();
  });

  it('is told to administrators only', async () => {
    const gateway = await startLimited({ upstream, keys, prices });
    for (const [headers, status] of [
      [{}, 401],
      [authorization('team'), 403],
      [authorization('boss'), 200],
    ] as const) {
      expect((await fetch(`${gateway.url}/admin/usage`, { headers })).status).toBe(status);
    }
    await gateway.close();
  });

  it('of callers who leave is what they were sent, and counts as failed', async () => {
    const gateway = await startLimited({ upstream, keys, prices });
    upstream.script((exchange) => exchange.event(chunk({ content: 'twelve chars' })));
    const left = new AbortController();
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      signal: left.signal,
      headers: { 'content-type': 'application/json', ...authorization('other') },
      body: JSON.stringify({
        model: 'scripted-model',
        stream: true,
        messages: [{ role: 'user', content: 'hello!!!' }],
      }),
    });
    await response.body?.getReader().read();
    left.abort();
    let report = await usageOf(gateway);
    for (let tries = 0; report.records.length === 0 && tries < 50; tries++) {
      await pause(20);
      report = await usageOf(gateway);
    }
    expect(report.records).toMatchObject([
      { key: 'other', calls: 1, failed_calls: 1, prompt_tokens: 2, completion_tokens: 3, cost_usd: 2 },
    ]);
    answering(upstream);
    await gateway.close();
  });

  it('and budgets in SQLite outlive a process that is killed', { timeout: 30_000 }, async () => {
    const state = { sqlite_path: join(folder, 'usage.db') };
    const first = await startLimitedProcess({ upstream, keys, prices, state });
    for (let call = 0; call < 3; call++) expect((await ask(first, 'team')).status).toBe(200);
    await pause(1300);
    await first.close();

    const second = await startLimitedProcess({ upstream, keys, prices, state });
    expect((await ask(second, 'team')).body.error?.metadata?.reason).toBe('budget_exhausted');
    const { records, budgets } = await usageOf(second);
    expect(records).toMatchObject([{ key: 'team', calls: 3, cost_usd: 15 }]);
    expect(budgets).toMatchObject([{ spent_usd: 15, reserved_usd: 0 }]);
    await second.close();
  });

  it.skipIf(withoutRedis)('and budgets in Redis are those of all replicas', { timeout: 30_000 }, async () => {
    const redis = await startRedis();
    const state = { redis_url: redis.url };
    const one = await startLimited({ upstream, keys, prices, state });
    const two = await startLimited({ upstream, keys, prices, state });
    await ask(one, 'team');
    await ask(two, 'team');
    await usageOf(one);
    const { records, budgets } = await usageOf(two);
    expect(records).toMatchObject([{ key: 'team', calls: 2, cost_usd: 10 }]);
    expect(budgets).toMatchObject([{ spent_usd: 10, reserved_usd: 0 }]);
    await one.close();
    await two.close();
    await redis.close();
  });
});
