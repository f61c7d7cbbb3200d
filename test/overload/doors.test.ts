import { createHash } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { saying } from '../support/scripted-upstream.ts';

let scripted: ScriptedGateway | undefined;
afterEach(async () => {
  await scripted?.close();
  scripted = undefined;
});

async function started(more: Record<string, object>): Promise<ScriptedGateway> {
  scripted = await startScriptedGateway(more);
  return scripted;
}

function keyOf(name: string, tier: string): object {
  return { name, tier, sha256: createHash('sha256').update(`key-of-${name}`).digest('hex') };
}

const as = (name: string) => ({ authorization: `Bearer key-of-${name}` });

/** The status of a REST answer, as soon as it comes, to a request whose body never does. */
function statusBeforeBody(url: string): Promise<{ status: number | undefined; retryAfter: string | undefined }> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': 1000 };
    const asked = httpRequest(url, { method: 'POST', headers }, (answer) => {
      resolve({ status: answer.statusCode, retryAfter: answer.headers['retry-after'] });
      asked.destroy();
    });
    asked.on('error', reject);
    asked.flushHeaders();
  });
}

describe('as many calls as may be in flight', () => {
  it('let no other in, at any door; who runs the gateway is answered all the same', async () => {
    const { doors, upstream, gateway } = await started({ server: { max_in_flight: 2 } });
    const calls = [doors.named('openai unary'), doors.named('grpc stream')].map((door) => door.ask({ model: 'both' }));
    const exchanges = [await upstream.next(), await upstream.next()];

    for (const door of doors.all) {
      const { failure, headers } = await door.ask({ model: 'both' });
      if (door.family === 'rpc') expect(failure).toMatchObject({ code: 'unavailable', reason: 'overloaded' });
      else expect([failure?.status, failure?.message]).toEqual([503, expect.stringContaining('the limit is 2')]);
      if (door.family !== 'rpc') expect(Number(headers['retry-after'])).toBeGreaterThanOrEqual(1);
      if (door.family !== 'rpc') expect(Number(headers['retry-after'])).toBeLessThanOrEqual(3);
    }
    for (const path of ['/livez', '/readyz', '/health', '/providers', '/v1/models']) {
      expect([path, (await fetch(gateway.url + path)).status]).toEqual([path, 200]);
    }
    const health = await fetch(`${gateway.url}/llmgateway.v1.HealthService/GetHealth`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    expect(health.status).toBe(200);

    upstream.script(saying('hi'));
    for (const exchange of exchanges) await saying('hi')(exchange);
    await Promise.all(calls);
    expect((await doors.named('connect-json unary').ask({ model: 'both' })).failure).toBeUndefined();
  });

  it('are refused before their body is read, and count while it is', async () => {
    const { gateway, upstream } = await started({ server: { max_in_flight: 1 } });
    upstream.script(saying('hi'));
    const url = `${gateway.url}/v1/chat/completions`;
    // The first one takes the only place with a body that does not come.
    const first = httpRequest(url, { method: 'POST', headers: { 'content-length': 1000 } });
    first.on('error', () => {});
    first.flushHeaders();
    await pause(50);
    expect(await statusBeforeBody(url)).toEqual({ status: 503, retryAfter: expect.stringMatching(/^[123]$/) });
    first.destroy();
    await expect.poll(async () => (await post(url)).status).toBe(200);
  });

  it('leave the last places to those whose tier allows more', async () => {
    const { doors, upstream } = await started({
      server: { max_in_flight: 10 },
      limits: { tiers: [{ name: 'premium', capacity: 10_000 }] },
      keys: [keyOf('ann', 'default'), keyOf('pam', 'premium')],
    });
    const ask = (name: string) => doors.named('openai unary').ask({ model: 'both', headers: as(name) });
    const calls = Array.from({ length: 9 }, () => ask('ann'));
    const exchanges = [];
    for (let at = 0; at < 9; at++) exchanges.push(await upstream.next());
    expect((await ask('ann')).failure).toMatchObject({ status: 503 });
    calls.push(ask('pam'));
    exchanges.push(await upstream.next());
    expect((await ask('pam')).failure).toMatchObject({ status: 503 });
    for (const exchange of exchanges) await saying('hi')(exchange);
    for (const call of calls) expect((await call).failure).toBeUndefined();
  });
});

describe('an event loop that comes late', () => {
  it('refuses some calls of the lowest class first, and none a few seconds later', async () => {
    const { doors, upstream, gateway } = await started({
      overload: { event_loop_delay: '200ms' },
      limits: { tiers: [{ name: 'premium', capacity: 10_000 }] },
      keys: [keyOf('ann', 'default'), keyOf('pam', 'premium')],
    });
    upstream.script(saying('hi'));
    const ask = (name: string) => doors.named('openai unary').ask({ model: 'both', headers: as(name) });
    const refused = async (name: string) => {
      const outcomes = await Promise.all(Array.from({ length: 40 }, () => ask(name)));
      return outcomes.filter(({ failure }) => failure?.status === 503).length;
    };
    expect(await refused('ann')).toBe(0);

    for (let times = 0; times < 20; times++) {
      const until = performance.now() + 300;
      while (performance.now() < until);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await refused('ann')).toBeGreaterThan(5);
    // One after the other: of many at once a busy machine may ration those of any class.
    for (let times = 0; times < 40; times++) expect((await ask('pam')).failure).toBeUndefined();
    const began = performance.now();
    expect((await fetch(`${gateway.url}/livez`)).status).toBe(200);
    expect(performance.now() - began).toBeLessThan(500);

    await expect.poll(() => refused('ann'), { timeout: 5000, interval: 250 }).toBe(0);
  }, 30_000);
});

function post(url: string): Promise<Response> {
  const body = JSON.stringify({ model: 'both', messages: [{ role: 'user', content: 'hi' }] });
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
}
