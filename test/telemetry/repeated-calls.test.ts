import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { chunk, type Exchange, saying, usageChunk } from '../support/scripted-upstream.ts';
import { readExposition, type Sample, total } from './read-exposition.ts';

/** Of which a call with 5 tokens of prompt and 2 of answer costs USD 5. */
const models = [{ provider: 'first', id: 'scripted-model', input_price: 1e6, output_price: 0 }];

describe('in metrics and the log, a call', () => {
  let served: ScriptedGateway;

  beforeEach(async () => {
    served = await startScriptedGateway({ models, cache: { enabled: true } });
    served.upstream.script(saying('hel', 'lo'));
  });
  afterEach(() => served.close());

  interface Asked {
    readonly stream?: boolean;
    readonly headers?: Record<string, string>;
    readonly signal?: AbortSignal;
  }

  async function ask({ stream = false, headers = {}, signal }: Asked = {}): Promise<string> {
    const answer = await fetch(`${served.gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ model: 'both', stream, messages: [{ role: 'user', content: 'hi' }] }),
      ...(signal && { signal }),
    });
    return answer.text();
  }

  async function scrape(): Promise<Sample[]> {
    const answer = await fetch(`${served.gateway.url}/metrics`, { headers: { accept: 'text/plain' } });
    return readExposition(await answer.text());
  }

  async function calls() {
    const answer = await fetch(`${served.gateway.url}/admin/calls`);
    const { calls: kept } = (await answer.json()) as { calls: Record<string, unknown>[] };
    return kept.reverse();
  }

  it('that the cache answers costs nothing, saves what it would have cost, and is no attempt', async () => {
    await ask();
    await ask();
    await ask({ stream: true });
    await ask({ headers: { 'cache-control': 'no-store' } });
    const samples = await scrape();
    const result = (name: string) => total(samples, 'gateway_cache_requests_total', { gateway_cache_result: name });
    expect([result('hit'), result('miss'), result('shared'), result('bypass')]).toEqual([2, 1, 0, 1]);
    expect(total(samples, 'gateway_requests_total')).toBe(4);
    expect(total(samples, 'gateway_attempts_total')).toBe(2);
    expect(total(samples, 'gateway_cost_total')).toBe(10);
    expect(total(samples, 'gateway_cache_saved_total', { gateway_provider: 'first' })).toBe(10);
    expect(total(samples, 'gateway_tokens_total', { gateway_token_type: 'input' })).toBe(10);
    expect(total(samples, 'gateway_cache_entries')).toBe(1);
    expect(total(samples, 'gateway_cache_stored_total')).toBe(1);
    expect(total(samples, 'gateway_cache_size')).toBeGreaterThan(100);
    expect(await calls()).toMatchObject([
      { cache: 'miss', cost_usd: 5, attempts: [{}] },
      { cache: 'hit', cost_usd: 0, attempts: [], usage: { total_tokens: 7 }, phases: { cache: expect.any(Number) } },
      { cache: 'hit', cost_usd: 0, attempts: [], streaming: true },
      { cache: 'bypass', cost_usd: 5, attempts: [{}] },
    ]);
    const { body } = await json('/metrics?window_minutes=5');
    expect(body.gateway_metrics).toMatchObject({ total_requests: 4, cache_hits: 2, cache_misses: 1, cost_usd: 10 });
  });

  async function json(path: string) {
    const answer = await fetch(served.gateway.url + path);
    return { body: (await answer.json()) as Record<string, Record<string, unknown>> };
  }

  it('that shares the answer of another one is paid once, and has waited for the provider', async () => {
    served.upstream.script(async (exchange: Exchange) => {
      await exchange.event(chunk({ content: 'hello' }));
      await pause(400);
      await exchange.event(chunk({}, 'stop'));
      await exchange.event(usageChunk);
      exchange.done();
    });
    const first = ask({ stream: true });
    await expect.poll(() => served.upstream.requests.length).toBe(1);
    await Promise.all([first, ask({ stream: true })]);
    const samples = await scrape();
    expect(total(samples, 'gateway_attempts_total')).toBe(1);
    expect(total(samples, 'gateway_cost_total')).toBe(5);
    expect(total(samples, 'gateway_cache_saved_total')).toBe(5);
    expect(total(samples, 'gateway_cache_requests_total', { gateway_cache_result: 'shared' })).toBe(1);
    // What was waited for is nothing that the gateway added.
    expect(total(samples, 'gateway_request_overhead_sum')).toBeLessThan(0.2);
    expect(await calls()).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ cache: 'miss', cost_usd: 5, attempts: [expect.anything()] }),
        expect.objectContaining({ cache: 'shared', cost_usd: 0, attempts: [] }),
      ]),
    );
  });

  it('that goes on with the answer of one that has left has made its attempts, and pays', async () => {
    const go = Promise.withResolvers<void>();
    served.upstream.script(async (exchange: Exchange) => {
      await exchange.event(chunk({ content: 'hello' }));
      await go.promise;
      await exchange.event(chunk({}, 'stop'));
      await exchange.event(usageChunk);
      exchange.done();
    });
    const leave = new AbortController();
    const left = ask({ stream: true, signal: leave.signal }).catch(() => 'left');
    await expect.poll(() => served.upstream.requests.length).toBe(1);
    const stays = ask({ stream: true });
    await expect.poll(async () => total(await scrape(), 'gateway_requests_active')).toBe(2);
    leave.abort();
    expect(await left).toBe('left');
    await expect.poll(async () => (await calls()).length).toBe(1);
    go.resolve();
    expect(await stays).toContain('hello');
    const samples = await scrape();
    expect(total(samples, 'gateway_attempts_total')).toBe(1);
    expect(total(samples, 'gateway_attempts_total', { gateway_outcome: 'ok' })).toBe(1);
    expect(total(samples, 'gateway_cost_total')).toBe(5);
    expect(total(samples, 'gateway_cache_saved_total')).toBe(0);
    expect(await calls()).toMatchObject([
      { outcome: 'cancelled', attempts: [] },
      { outcome: 'ok', cost_usd: 5, attempts: [{ provider: 'first' }] },
    ]);
  });

  it('that comes again with its idempotency key is told to be a replay, and costs once', async () => {
    const headers = { 'idempotency-key': 'k-1', 'cache-control': 'no-store' };
    await ask({ headers });
    await ask({ headers });
    const samples = await scrape();
    expect(total(samples, 'gateway_replays_total')).toBe(1);
    expect(total(samples, 'gateway_attempts_total')).toBe(1);
    expect(total(samples, 'gateway_cost_total')).toBe(5);
    expect(total(samples, 'gateway_cache_saved_total')).toBe(5);
    expect(await calls()).toMatchObject([
      { replayed: false, cost_usd: 5, attempts: [{}] },
      { replayed: true, cost_usd: 0, attempts: [] },
    ]);
  });
});
