import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Door } from '../support/doors.ts';
import { type GatewayWithDoors, scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import { type ScriptedUpstream, saying, startScriptedUpstream } from '../support/scripted-upstream.ts';

const names = ['a', 'b', 'c'] as const;
type Name = (typeof names)[number];

let upstreams: Record<Name, ScriptedUpstream>;
beforeAll(async () => {
  const [a, b, c] = await Promise.all(names.map(() => startScriptedUpstream()));
  upstreams = { a, b, c } as Record<Name, ScriptedUpstream>;
});
afterAll(() => Promise.all(names.map((name) => upstreams[name].close())));

/** Three providers, each of which says its name. */
async function start(more: Record<string, object> = {}): Promise<GatewayWithDoors> {
  for (const name of names) upstreams[name].script(saying(name));
  const started = await startGatewayOver(
    names.map((name) => scriptedProvider(name, upstreams[name])),
    { server: { max_in_flight: 5_000 }, ...more },
  );
  onTestFinished(() => started.close());
  return started;
}

/** Make all these calls, so many at once; tells how often each provider answered. */
async function shares(
  calls: number,
  atOnce: number,
  ask: () => ReturnType<Door['ask']>,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  let next = 0;
  const lane = async () => {
    while (next++ < calls) {
      const { told, failure } = await ask();
      const who = failure ? `failed: ${failure.reason}` : told.text;
      counts[who] = (counts[who] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return counts;
}

describe('round robin', () => {
  it.each(['grpc unary', 'openai unary'])(
    'is fair to one call over 3,000 at once, at %s',
    { timeout: 60_000 },
    async (door) => {
      const { doors } = await start();
      const { ask } = doors.named(door);
      // One for the connections.
      await ask({ model: 'scripted-model' });
      const counts = await shares(3_000, 3_000, () => ask({ model: 'scripted-model' }));
      expect(Object.keys(counts).sort()).toEqual(['a', 'b', 'c']);
      for (const count of Object.values(counts)) expect(Math.abs(count - 1_000)).toBeLessThanOrEqual(1);
    },
  );

  it('gives each its share where they have weights', async () => {
    const targets = [
      { provider: 'a', weight: 6 },
      { provider: 'b', weight: 3 },
      { provider: 'c', weight: 1 },
    ];
    const { doors } = await start({ routes: [{ model: 'weighted', strategy: 'round_robin', targets }] });
    const { ask } = doors.named('openai unary');
    expect(await shares(100, 20, () => ask({ model: 'weighted' }))).toEqual({ a: 60, b: 30, c: 10 });
  });

  it('goes round at every door alike, wherever the call comes in', async () => {
    const { doors } = await start();
    const said: string[] = [];
    for (const { ask } of doors.all) said.push((await ask({ model: 'scripted-model' })).told.text);
    expect(said.join('')).toBe('abc'.repeat(doors.all.length / 3));
  });
});

/** Per million tokens, in USD: a is cheap for long prompts, b for long answers; nobody knows what c costs. */
const prices = {
  models: [
    { id: 'scripted-model', provider: 'a', input_price: 1, output_price: 10, quality: 0.5 },
    { id: 'scripted-model', provider: 'b', input_price: 2, output_price: 2, quality: 0.9 },
  ],
} as unknown as Record<string, object>;

/** Lengths of a prompt in tokens and of the answer that is allowed, and who is the cheapest for it. */
const requests: [promptTokens: number, maxTokens: number, cheapest: Name][] = [
  [10, 1, 'a'],
  [10, 5, 'b'],
  [100, 5, 'a'],
  [100, 12, 'a'],
  [100, 13, 'b'],
  [400, 49, 'a'],
  [400, 51, 'b'],
  [1_000, 100, 'a'],
  [1_000, 124, 'a'],
  [1_000, 126, 'b'],
  [2_000, 10, 'a'],
  [2_000, 249, 'a'],
  [2_000, 251, 'b'],
  [5_000, 600, 'a'],
  [5_000, 700, 'b'],
  [8_000, 1, 'a'],
  [8_000, 2_000, 'b'],
  [10_000, 1_249, 'a'],
  [10_000, 1_251, 'b'],
  [20_000, 2_000, 'a'],
];

describe('lowest cost', () => {
  it('is right for each of 20 requests', async () => {
    const { gateway } = await start(prices);
    for (const [promptTokens, maxTokens, cheapest] of requests) {
      const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          model: 'scripted-model',
          routing_strategy: 'lowest_cost',
          max_tokens: maxTokens,
          messages: [{ role: 'user', content: 'x'.repeat(4 * promptTokens) }],
        }),
      });
      await answer.arrayBuffer();
      expect([promptTokens, maxTokens, answer.headers.get('x-selected-provider')]).toEqual([
        promptTokens,
        maxTokens,
        cheapest,
      ]);
    }
  });

  it('asks those whose price nobody knows last', async () => {
    const { doors } = await start(prices);
    upstreams.a.script((exchange) => exchange.text('', 401));
    upstreams.b.script((exchange) => exchange.text('', 401));
    const { completion } = await doors.named('grpc unary').ask({ model: 'scripted-model', strategy: 'lowest_cost' });
    expect(completion?.attempts.map(({ provider }) => provider).at(-1)).toBe('c');
  });
});

describe('highest quality', () => {
  it('is right for each of 20 requests, at every door', async () => {
    const { doors } = await start(prices);
    for (let call = 0; call < 20; call++) {
      const { name, ask } = doors.all[call % doors.all.length] as Door;
      const { told } = await ask({
        model: 'scripted-model',
        strategy: 'highest_quality',
        text: 'x'.repeat(1 + call * 100),
      });
      expect([name, told.text]).toEqual([name, 'b']);
    }
    upstreams.b.script((exchange) => exchange.text('', 401));
    const { completion } = await doors
      .named('grpc unary')
      .ask({ model: 'scripted-model', strategy: 'highest_quality' });
    expect(completion?.attempts.map(({ provider }) => provider)).toEqual(['b', 'a']);
  });
});

describe('random', () => {
  it('gives each about its share', async () => {
    const { doors } = await start();
    const { ask } = doors.named('openai unary');
    const counts = await shares(900, 30, () => ask({ model: 'scripted-model', strategy: 'random' }));
    // Five standard deviations.
    for (const name of names) expect(Math.abs((counts[name] ?? 0) - 300)).toBeLessThan(71);
  });
});

describe('least latency', () => {
  it('leaves a target that becomes ten times slower within 10 s, and comes back within 60 s', {
    timeout: 90_000,
  }, async () => {
    const { doors } = await start({ routing: { default_strategy: 'least_latency' } });
    const latencyMs: Record<Name, number> = { a: 30, b: 30, c: 30 };
    for (const name of names)
      upstreams[name].script((exchange) => pause(latencyMs[name]).then(() => saying(name)(exchange)));
    const { ask } = doors.named('openai stream');
    const answered: { at: number; by: string }[] = [];
    const began = performance.now();
    const now = () => performance.now() - began;
    let isOver = false;
    const lanes = Array.from({ length: 3 }, async () => {
      while (!isOver) {
        const at = now();
        const { told } = await ask({ model: 'scripted-model' });
        answered.push({ at, by: told.text });
        await pause(10);
      }
    });
    /** The share of `a` among the calls of the last so many milliseconds. */
    const share = (lastMs: number) => {
      const recent = answered.filter(({ at }) => at > now() - lastMs);
      return recent.filter(({ by }) => by === 'a').length / recent.length;
    };

    await pause(4_000);
    const before = share(3_500);
    latencyMs.a = 300;
    const slowAt = now();
    await expect
      .poll(() => now() - slowAt > 1_000 && share(1_000) <= before / 10, { timeout: 10_000, interval: 100 })
      .toBe(true);
    await pause(3_000);
    expect(share(3_000)).toBeLessThanOrEqual(before / 5);
    latencyMs.a = 30;
    // Three of the same speed: one of them may have led by chance before, and need not lead again.
    const fair = Math.min(before, 1 / names.length);
    await expect.poll(() => share(2_000), { timeout: 45_000, interval: 250 }).toBeGreaterThan(fair * 0.7);
    isOver = true;
    await Promise.all(lanes);
    expect(before).toBeGreaterThan(0.2);
  });
});
