import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import { type Exchange, type ScriptedUpstream, saying, startScriptedUpstream } from '../support/scripted-upstream.ts';

let first: ScriptedUpstream;
let second: ScriptedUpstream;
beforeEach(async () => {
  first = await startScriptedUpstream();
  second = await startScriptedUpstream();
});
afterEach(() => Promise.all([first.close(), second.close()]));

const failing = (exchange: Exchange) => exchange.json({ error: { message: 'boom' } }, 500);

/** Breakers that never open, so that only the budget holds retries back. */
const bound = { breaker: { min_calls: 1_000_000, failure_ratio: 1 } };

async function start(more: Record<string, object> = {}) {
  const started = await startGatewayOver([scriptedProvider('first', first), scriptedProvider('second', second)], {
    routing: { default_strategy: 'failover' },
    retry: { base_delay: '5ms', max_delay: '10ms' },
    ...bound,
    ...more,
  });
  onTestFinished(() => started.close());
  return started;
}

const alone = { model: 'scripted-model', provider: 'first', fallback: false };

describe('in steady failure', () => {
  it('a provider gets no more than a fifth above the calls there are, and callers are told not to retry', async () => {
    const { doors } = await start();
    first.script(failing);
    const { ask } = doors.named('openai unary');
    let unhelpful = 0;
    for (let call = 0; call < 400; call++) {
      const { failure, headers } = await ask(alone);
      expect(failure?.status).toBe(503);
      if (headers['x-should-retry'] === 'false') unhelpful++;
    }
    expect(first.requests.length / 400).toBeLessThanOrEqual(1.2);
    expect(first.requests.length).toBeGreaterThan(440);
    expect(unhelpful).toBeGreaterThan(300);
  });

  it('holds also where many call at once, at both of two providers', async () => {
    const { doors } = await start();
    first.script(failing);
    second.script(failing);
    const ways = ['openai unary', 'grpc stream', 'native stream'].map((name) => doors.named(name));
    for (let round = 0; round < 10; round++) {
      await Promise.all(Array.from({ length: 40 }, (_, call) => ways[call % 3]?.ask({ model: 'scripted-model' })));
    }
    for (const { requests } of [first, second]) {
      expect(requests.length).toBeGreaterThanOrEqual(400);
      expect(requests.length).toBeLessThanOrEqual(480);
    }
  });

  it('a share of 0 allows no retry at all, and going on to another provider takes none', async () => {
    const { doors } = await start({ retry: { budget_ratio: 0 } });
    first.script(failing);
    second.script(saying('from the second'));
    const { ask } = doors.named('openai unary');
    for (let call = 0; call < 50; call++)
      expect((await ask({ model: 'scripted-model' })).told.text).toBe('from the second');
    expect([first.requests.length, second.requests.length]).toEqual([50, 50]);
  });
});

describe('a retry', () => {
  it('comes after a backoff that doubles, and by a fifth more or less', async () => {
    const at: number[] = [];
    first.script((exchange) => {
      at.push(performance.now());
      failing(exchange);
    });
    const { doors } = await start({
      retry: { attempts: 4, attempts_per_target: 4, base_delay: '100ms', max_delay: '200ms', budget_ratio: 1 },
    });
    await doors.named('openai unary').ask(alone);
    const waits = at.slice(1).map((time, index) => time - (at[index] ?? 0));
    expect(waits).toHaveLength(3);
    for (const [index, ms] of [100, 200, 200].entries()) {
      expect(waits[index]).toSatisfy((wait: number) => wait >= 0.8 * ms - 2 && wait <= 1.2 * ms + 60);
    }
  });

  it('is not made after a timeout', async () => {
    first.script(() => {});
    const { doors } = await start({ timeouts: { first_token: '100ms', attempt_unary: '100ms' } });
    for (const { name, ask } of doors.all) {
      const { failure, headers } = await ask(alone);
      expect([name, failure?.reason]).toEqual([name, 'provider_timeout']);
      if (failure?.status) expect(headers['x-gateway-attempts']).toBe('1');
    }
    expect(first.requests).toHaveLength(doors.all.length);
  });

  it('is not made once the caller has left', async () => {
    first.script(failing);
    const { doors, gateway } = await start({ retry: { base_delay: '300ms', max_delay: '300ms' } });
    for (const { ask } of doors.all) {
      const leaving = new AbortController();
      const before = first.requests.length;
      const left = ask({ ...alone, signal: leaving.signal });
      await expect.poll(() => first.requests.length).toBe(before + 1);
      leaving.abort();
      await left;
    }
    await expect.poll(() => gateway.app.inFlight()).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 450));
    expect(first.requests).toHaveLength(doors.all.length);
  });
});
