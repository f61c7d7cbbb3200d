import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { CircuitState } from '../../gen/llmgateway/v1/provider_pb.ts';
import type { Door } from '../support/doors.ts';
import { type GatewayWithDoors, scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import {
  chunk,
  type Exchange,
  type ScriptedUpstream,
  saying,
  startScriptedUpstream,
} from '../support/scripted-upstream.ts';

const failing = (exchange: Exchange) => exchange.json({ error: { message: 'boom' } }, 500);

let first: ScriptedUpstream;
let second: ScriptedUpstream;
beforeEach(async () => {
  first = await startScriptedUpstream();
  second = await startScriptedUpstream();
  second.script(saying('from the second'));
});
afterEach(() => Promise.all([first.close(), second.close()]));

async function start(more: Record<string, object> = {}): Promise<GatewayWithDoors> {
  const started = await startGatewayOver([scriptedProvider('first', first), scriptedProvider('second', second)], more);
  onTestFinished(() => started.close());
  return started;
}

/** Call so often, so many at once; tells the failures. */
async function callOften(
  calls: number,
  atOnce: number,
  ask: (call: number) => ReturnType<Door['ask']>,
): Promise<unknown[]> {
  const failures: unknown[] = [];
  let next = 0;
  const lane = async () => {
    for (let call = next++; call < calls; call = next++) {
      const { failure } = await ask(call);
      if (failure) failures.push(failure);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return failures;
}

/** Fail so often that the breaker of this model opens. */
async function openBreaker({ doors, gateway }: GatewayWithDoors, model = 'scripted-model'): Promise<void> {
  first.script(failing);
  const { ask } = doors.named('openai unary');
  for (let call = 0; call < 10; call++) await ask({ model, provider: 'first', fallback: false });
  const { models } = gateway.app.gateway.circuitBreakerOf('first');
  expect(models.find((breaker) => breaker.model === model)?.state).toBe(CircuitState.OPEN);
}

describe('one failing and one good provider', () => {
  it('answer every one of 10,000 calls, of which the failing one sees 2 % at most', { timeout: 120_000 }, async () => {
    const { doors } = await start();
    first.script(failing);
    const some = ['openai unary', 'openai stream', 'native unary', 'grpc unary'].map((name) => doors.named(name));
    const failures = await callOften(10_000, 50, (call) =>
      (some[call % some.length] as Door).ask({ model: 'scripted-model' }),
    );
    expect(failures).toEqual([]);
    expect(first.requests.length).toBeLessThanOrEqual(200);
    expect(second.requests).toHaveLength(10_000);
  });

  it('and while the breaker is open there is no connection to the failing one', async () => {
    const gateway = await start();
    await openBreaker(gateway);
    // What is left over from before.
    first.stop();
    await first.restart();
    const before = first.connections();
    const { ask } = gateway.doors.named('openai unary');
    expect(await callOften(500, 50, () => ask({ model: 'scripted-model' }))).toEqual([]);
    expect([first.connections() - before, first.openSockets()]).toEqual([0, 0]);
  });
});

describe('an open breaker', () => {
  it("of one model leaves the provider's other models alone", async () => {
    const gateway = await start();
    await openBreaker(gateway, 'broken-model');
    first.script((exchange) =>
      exchange.request.body?.model === 'broken-model' ? failing(exchange) : saying('fine')(exchange),
    );
    const { all } = gateway.doors;
    for (const { name, ask } of all) {
      const { failure, told } = await ask({ model: 'scripted-model', provider: 'first', fallback: false });
      expect([name, failure, told.text]).toEqual([name, undefined, 'fine']);
      const broken = await ask({ model: 'broken-model', provider: 'first', fallback: false });
      expect([name, broken.failure?.reason]).toEqual([name, 'no_provider_available']);
    }
  });

  it('of every provider is 503 with Retry-After at once, at every door, and leaves the gateway ready', async () => {
    const gateway = await start({ retry: { attempts: 1 } });
    await openBreaker(gateway);
    second.script(failing);
    const { ask } = gateway.doors.named('openai unary');
    for (let call = 0; call < 10; call++) await ask({ model: 'scripted-model', provider: 'second', fallback: false });

    const asked = first.requests.length + second.requests.length;
    const tookMs: number[] = [];
    for (let round = 0; round < 10; round++) {
      for (const door of gateway.doors.all) {
        const began = performance.now();
        const { failure, headers } = await door.ask({ model: 'scripted-model' });
        tookMs.push(performance.now() - began);
        expect([door.name, failure?.reason]).toEqual([door.name, 'no_provider_available']);
        expect([door.name, failure?.status ?? failure?.code]).toEqual([
          door.name,
          failure?.status ? 503 : 'unavailable',
        ]);
        if (failure?.status) expect(Number(headers['retry-after'])).toSatisfy((s: number) => s >= 1 && s <= 6);
      }
    }
    tookMs.sort((a, b) => a - b);
    expect(tookMs[Math.floor(tookMs.length * 0.99)]).toBeLessThan(50);
    expect(first.requests.length + second.requests.length).toBe(asked);
    expect((await fetch(`${gateway.gateway.url}/readyz`)).status).toBe(200);
  });
});

describe('what a breaker judges', () => {
  const judged = ({ gateway }: GatewayWithDoors) => gateway.app.gateway.circuitBreakerOf('first').whole;

  it('of a stream is how it ends: one that breaks in its middle is a failure', async () => {
    const gateway = await start();
    first.script(async (exchange) => {
      await exchange.event(chunk({ content: 'half ' }));
      exchange.end();
    });
    const { ask } = gateway.doors.named('openai stream');
    for (let call = 0; call < 10; call++)
      expect((await ask({ model: 'scripted-model', provider: 'first' })).told.text).toBe('half ');
    expect(judged(gateway)).toMatchObject({ state: CircuitState.OPEN, reason: 'provider_protocol' });
    expect((await ask({ model: 'scripted-model', provider: 'first' })).told.text).toBe('from the second');
  });

  it('leaves a stream alone that is under way when it opens', async () => {
    const gateway = await start();
    first.script(undefined);
    const reading = gateway.doors.named('openai stream').ask({ model: 'scripted-model', provider: 'first' });
    const exchange = await first.next();
    await exchange.event(chunk({ content: 'before ' }));
    await openBreaker(gateway);
    await saying('and after')(exchange);
    expect((await reading).told.text).toBe('before and after');
    expect(judged(gateway).state).toBe(CircuitState.OPEN);
  });

  it("is neither a caller who leaves nor a caller's own deadline", async () => {
    const gateway = await start();
    first.script(() => {});
    const { ask } = gateway.doors.named('grpc stream');
    const calls = Array.from({ length: 20 }, (_, call) =>
      call % 2 === 0
        ? ask({ model: 'scripted-model', provider: 'first', fallback: false, timeoutMs: 200 })
        : ask({ model: 'scripted-model', provider: 'first', fallback: false, signal: AbortSignal.timeout(200) }),
    );
    for (const { failure } of await Promise.all(calls))
      expect(failure?.code).toMatch(/^(deadline_exceeded|canceled|aborted)$/);
    await expect.poll(() => first.openAnswers()).toBe(0);
    expect(judged(gateway)).toMatchObject({ state: CircuitState.CLOSED, totalCalls: 0 });
  });
});

describe('the moment after an open breaker', () => {
  const quick = { breaker: { open_for: '300ms', max_open_for: '300ms' }, server: { max_in_flight: 2_000 } };
  /** Longer than the breaker can be open, jitter and all. */
  const OVER_MS = 400;

  it.each([
    ['with another provider', true],
    ['without one', false],
  ])('lets 3 of 1,000 calls pass, and no other waits for them, %s', { timeout: 60_000 }, async (_, fallback) => {
    const gateway = await start(quick);
    await openBreaker(gateway);
    await pause(OVER_MS);
    const asked = first.requests.length;
    first.script(undefined); // trials wait for the test

    const { ask } = gateway.doors.named('grpc unary');
    let over = 0;
    const outcomes = Array.from({ length: 1_000 }, () =>
      ask({ model: 'scripted-model', provider: 'first', fallback }).finally(() => over++),
    );
    await expect.poll(() => over, { timeout: 20_000 }).toBe(997);
    expect(first.requests.length - asked).toBe(3);
    for (let trial = 0; trial < 3; trial++) void saying('well again')(await first.next());

    const texts = (await Promise.all(outcomes)).map(({ told, failure }) => failure?.reason ?? told.text);
    const counts = Object.fromEntries([...Map.groupBy(texts, (text) => text)].map(([text, all]) => [text, all.length]));
    expect(counts).toEqual({ 'well again': 3, [fallback ? 'from the second' : 'no_provider_available']: 997 });
    expect(gateway.gateway.app.gateway.circuitBreakerOf('first').whole.state).toBe(CircuitState.CLOSED);
  });

  it('ends with the first trial that fails', async () => {
    const gateway = await start(quick);
    await openBreaker(gateway);
    await pause(OVER_MS);
    const asked = first.requests.length;
    const { ask } = gateway.doors.named('openai unary');
    expect(await callOften(200, 1, () => ask({ model: 'scripted-model', provider: 'first' }))).toEqual([]);
    // One for each time it was over, of which there is hardly a second one here; a trial is not asked again.
    expect(first.requests.length - asked).toBeLessThanOrEqual(4);
  });

  it('goes on with calls whose caller leaves: they take no place', async () => {
    const gateway = await start(quick);
    await openBreaker(gateway);
    await pause(OVER_MS);
    first.script(undefined);
    const { ask } = gateway.doors.named('grpc unary');
    for (let trial = 0; trial < 9; trial++) {
      const controller = new AbortController();
      const left = ask({ model: 'scripted-model', provider: 'first', signal: controller.signal });
      const exchange = await first.next();
      controller.abort();
      await exchange.closed;
      await left;
    }
    expect(gateway.gateway.app.gateway.circuitBreakerOf('first').whole.state).toBe(CircuitState.HALF_OPEN);
    first.script(saying('well again'));
    expect((await ask({ model: 'scripted-model', provider: 'first' })).told.text).toBe('well again');
  });

  it('is not put off by streams that take longer than a trial may: their good end counts', async () => {
    const gateway = await start({ ...quick, timeouts: { attempt_unary: '100ms' } });
    await openBreaker(gateway);
    await pause(OVER_MS);
    first.script(undefined);
    const { ask } = gateway.doors.named('openai stream');
    const streams = Array.from({ length: 3 }, () => ask({ model: 'scripted-model', provider: 'first' }));
    const exchanges = await Promise.all(streams.map(() => first.next()));
    for (const exchange of exchanges) await exchange.event({ choices: [{ index: 0, delta: { content: 'slowly ' } }] });
    await pause(200);
    for (const exchange of exchanges) void saying('but well')(exchange);
    for (const { failure, told } of await Promise.all(streams))
      expect([failure, told.text]).toEqual([undefined, 'slowly but well']);
    expect(gateway.gateway.app.gateway.circuitBreakerOf('first').whole.state).toBe(CircuitState.CLOSED);
  });
});
