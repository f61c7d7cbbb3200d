import { createHash } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { chunk, saying } from '../support/scripted-upstream.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const headers = { authorization: 'Bearer key-of-ann' };

let scripted: ScriptedGateway | undefined;
afterEach(async () => {
  await scripted?.close();
  scripted = undefined;
});

/** A caller with ten calls and a thousand tokens, at prices that make 7 tokens cost 0.7 dollars. */
async function started(more: Record<string, object> = {}): Promise<ScriptedGateway> {
  scripted = await startScriptedGateway({
    cache: { enabled: true },
    models: [{ provider: 'first', id: 'scripted-model', input_price: 100_000, output_price: 100_000 }] as never,
    limits: { tiers: [{ name: 'small', capacity: 10, refill_per_second: 0.001, tokens_per_minute: 1000 }] },
    keys: [
      { name: 'ann', sha256: sha256('key-of-ann'), tier: 'small', models: ['first/*', 'scripted-model'] },
      { name: 'ops', sha256: sha256('key-of-ops'), admin: true },
    ] as never,
    ...more,
  });
  scripted.upstream.script(saying('hi'));
  return scripted;
}

const asked = (text = 'hi') => {
  const openaiBody = { messages: [{ role: 'user', content: text }], max_tokens: 50 };
  return { model: 'first/scripted-model', openaiBody, headers };
};

async function ask(more: Record<string, string> = {}, text = 'hi') {
  const outcome = await scripted?.doors.named('openai unary').ask({ ...asked(text), headers: { ...headers, ...more } });
  expect(outcome?.failure).toBeUndefined();
  const got = outcome?.headers ?? {};
  const left = (name: string) => Number(got[`x-ratelimit-remaining-${name}`]);
  return { calls: left('requests'), tokens: left('tokens'), headers: got };
}

/** What was used by the caller in all. */
async function used(): Promise<{ calls: number; prompt_tokens: number; completion_tokens: number }> {
  const { gateway } = scripted ?? {};
  const admin = { authorization: 'Bearer key-of-ops' };
  const answer = await fetch(`${gateway?.url}/admin/usage?key=ann`, { headers: admin });
  return ((await answer.json()) as { total: Awaited<ReturnType<typeof used>> }).total;
}

describe('a hit', () => {
  it('takes a call and no tokens', async () => {
    await started();
    await ask();
    const before = await ask({}, 'another');
    for (let hits = 1; hits <= 3; hits++) {
      const after = await ask();
      expect(after.headers['x-cache']).toBe('HIT');
      expect(after.calls).toBe(before.calls - hits);
    }
    // What is reserved for a call while it is under way comes back whole: all that is missing are the two that went upstream.
    const last = await ask({}, 'a third');
    expect(last.tokens).toBeGreaterThanOrEqual(before.tokens - 7 - 1);
  });

  it('is counted as a call that cost nothing', async () => {
    await started();
    for (let times = 0; times < 4; times++) await ask();
    expect(await used()).toMatchObject({ calls: 4, prompt_tokens: 5, completion_tokens: 2 });
  });
});

describe('a call that comes again with its idempotency key', () => {
  it('takes a call and no tokens', async () => {
    await started({ cache: { enabled: false } });
    const key = { 'idempotency-key': 'k' };
    const first = await ask(key);
    const again = await ask(key);
    expect(again.headers['idempotent-replayed']).toBe('true');
    expect(again.calls).toBe(first.calls - 1);
    const last = await ask();
    expect(last.tokens).toBeGreaterThanOrEqual(first.tokens - 7 - 1);
  });
});

describe('a shared answer', () => {
  it('is charged to the one that is left, when the first has gone', async () => {
    const { upstream, doors, gateway } = await started();
    upstream.script(undefined);
    const leaver = new AbortController();
    const first = doors.named('openai stream').ask({ ...asked(), signal: leaver.signal });
    const exchange = await upstream.next();
    const second = doors.named('openai stream').ask(asked());
    await expect.poll(() => gateway.app.inFlight()).toBe(2);
    await exchange.event(chunk({ content: 'h' }));
    leaver.abort();
    await first;
    await expect.poll(() => gateway.app.inFlight()).toBe(1);
    await saying('i')(exchange);
    expect((await second).told.text).toBe('hi');
    expect(await used()).toMatchObject({ calls: 2, prompt_tokens: 5, completion_tokens: 2 });
  });
});
