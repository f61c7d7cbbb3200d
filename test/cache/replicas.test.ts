import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { openDoors } from '../support/doors.ts';
import { startGateway } from '../support/gateway.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { type ScriptedUpstream, saying, startScriptedUpstream } from '../support/scripted-upstream.ts';

let prefixes = 0;

/** Two gateways of the same configuration before one upstream, with a Redis between them. */
async function replicas(redisUrl: string, more: Record<string, unknown> = {}) {
  const upstream: ScriptedUpstream = await startScriptedUpstream();
  const config = {
    providers: [scriptedProvider('first', upstream)],
    cache: { enabled: true },
    state: { redis_url: redisUrl, key_prefix: `replicas${++prefixes}:` },
    ...more,
  };
  const gateways = await Promise.all([startGateway(config), startGateway(config)]);
  const doors = gateways.map(({ url }) => openDoors(url));
  onTestFinished(async () => {
    for (const each of doors) await each.close();
    for (const gateway of gateways) await gateway.close();
    await upstream.close();
  });
  const ask = (at: number, door: string, text = 'hi', headers: Record<string, string> = {}) => {
    const found = doors[at]?.named(door);
    if (!found) throw new Error(`there is no replica ${at}`);
    return found.ask({ model: 'scripted-model', text, headers });
  };
  return { upstream, gateways, ask };
}

describe.skipIf(withoutRedis)('replicas that share a Redis', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis?.close());

  it('answer from each other’s cache, whole and streamed', async () => {
    const { upstream, ask } = await replicas(redis.url);
    upstream.script(saying('hel', 'lo'));
    expect((await ask(0, 'openai stream')).headers['x-cache']).toBe('MISS');
    for (const door of ['openai unary', 'grpc stream', 'native unary', 'connect-json unary']) {
      const { told, headers } = await ask(1, door);
      expect([door, told.text, headers['x-cache']]).toEqual([door, 'hello', 'HIT']);
    }
    expect(upstream.requests.length).toBe(1);
  });

  it('forget together', async () => {
    const { gateways, upstream, ask } = await replicas(redis.url);
    upstream.script(saying('hi'));
    await ask(0, 'openai unary');
    const purge = await fetch(`${gateways[1]?.url}/admin/cache/purge`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"model":"scripted-model"}',
    });
    expect(await purge.json()).toMatchObject({ purged: 1 });
    expect((await ask(0, 'openai unary')).headers['x-cache']).toBe('MISS');
  });

  it('give a call the outcome that it had at another one, or wait for it there', async () => {
    const { upstream, ask } = await replicas(redis.url, { cache: { enabled: false } });
    const key = { 'idempotency-key': 'k1' };
    const calls = [ask(0, 'openai stream', 'hi', key), ask(1, 'openai unary', 'hi', key)];
    await saying('hi')(await upstream.next());
    const [first, second] = await Promise.all(calls);
    expect(second?.told.text).toBe(first?.told.text);
    const third = await ask(1, 'grpc unary', 'hi', key);
    expect([third.headers['idempotent-replayed'], third.told.text]).toEqual(['true', 'hi']);
    expect((await ask(0, 'openai unary', 'another', key)).failure).toMatchObject({ status: 409 });
    expect(upstream.requests.length).toBe(1);
  });

  it.each(['killed', 'stopped'])(
    'go on uncached while it is %s, and use it again when it is back',
    async (how) => {
      const own = await startRedis();
      const { upstream, ask } = await replicas(own.url);
      upstream.script(saying('hi'));
      await ask(0, 'openai unary');
      expect((await ask(1, 'openai unary')).headers['x-cache']).toBe('HIT');

      if (how === 'killed') await own.kill();
      else own.process.kill('SIGSTOP');
      const times: number[] = [];
      for (let at = 0; at < 20; at++) {
        const began = performance.now();
        const key = { 'idempotency-key': `${how} ${at}` };
        const { failure, headers } = await ask(at % 2, 'openai unary', 'hi', at % 4 < 2 ? {} : key);
        expect([failure, headers['x-cache']]).toEqual([undefined, 'MISS']);
        times.push(performance.now() - began);
      }
      // The first ones wait for an answer of Redis that does not come, once in each replica; the others do not even try.
      expect(times.toSorted((a, b) => a - b)[10]).toBeLessThan(70);

      if (how === 'killed') {
        const again = await startRedis([], own.port);
        onTestFinished(() => again.close());
      } else own.process.kill('SIGCONT');
      onTestFinished(() => own.close());
      const isShared = async () => {
        const text = `back ${performance.now()}`;
        await ask(0, 'openai unary', text);
        return (await ask(1, 'openai unary', text)).headers['x-cache'];
      };
      await expect.poll(isShared, { timeout: 10_000, interval: 200 }).toBe('HIT');
    },
    40_000,
  );

  it('start without one, and use it when it comes', async () => {
    const own = await startRedis();
    await own.close();
    const { upstream, ask } = await replicas(own.url);
    upstream.script(saying('hi'));
    expect((await ask(0, 'openai unary')).failure).toBeUndefined();
    const late = await startRedis([], own.port);
    onTestFinished(() => late.close());
    const isShared = async () => {
      const text = `late ${performance.now()}`;
      await ask(0, 'openai unary', text);
      return (await ask(1, 'openai unary', text)).headers['x-cache'];
    };
    await expect.poll(isShared, { timeout: 10_000, interval: 200 }).toBe('HIT');
  }, 30_000);

  it('share equal calls within each of them while it is away', async () => {
    const own = await startRedis();
    const { upstream, ask } = await replicas(own.url);
    await own.close();
    await pause(50);
    const calls = Array.from({ length: 40 }, (_, at) => ask(at % 2, at % 4 < 2 ? 'openai unary' : 'grpc stream'));
    const exchanges = [await upstream.next(), await upstream.next()];
    upstream.script(() => {
      throw new Error('two were enough');
    });
    await pause(300);
    for (const exchange of exchanges) await saying('hi')(exchange);
    for (const { told, failure } of await Promise.all(calls)) expect([failure, told.text]).toEqual([undefined, 'hi']);
  }, 30_000);
});
