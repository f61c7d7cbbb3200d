import { setTimeout as after } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Door, openDoors } from '../support/doors.ts';
import { type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { chunk, type Exchange } from '../support/scripted-upstream.ts';
import { openSession, unreadGrpc, unreadHttp1, unreadHttp2 } from '../support/unread-caller.ts';

/** The longest that the upstream may stay open once the caller has left. */
const LEAVING_MS = 250;

describe('a caller who leaves', () => {
  let scripted: ScriptedGateway;
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);

  beforeAll(async () => {
    process.on('warning', onWarning);
    scripted = await startScriptedGateway();
  });
  afterAll(async () => {
    process.off('warning', onWarning);
    await scripted.close();
  });

  /** Call, and leave once the upstream was asked; or, mid-stream, once the first words have come. */
  async function leave(door: Door, midStream: boolean): Promise<{ exchange: Exchange; tookMs: number }> {
    const controller = new AbortController();
    const heard = Promise.withResolvers<void>();
    const called = door.ask({ model: 'both', signal: controller.signal, onEvent: () => heard.resolve() });
    const exchange = await scripted.upstream.next();
    if (midStream) {
      await exchange.event(chunk({ content: 'one ' }));
      await exchange.event(chunk({ content: 'two ' }));
      await heard.promise;
    }
    const left = performance.now();
    controller.abort();
    const { left: early } = await exchange.closed;
    expect(early).toBe(true);
    const { failure } = await called;
    expect(failure).toBeDefined();
    return { exchange, tookMs: performance.now() - left };
  }

  const doorNames = ['grpc', 'grpc-web', 'connect-binary', 'connect-json', 'openai', 'native'];

  it.each(doorNames.flatMap((name) => [`${name} unary`, `${name} stream`]))(
    'before the first word closes the upstream within 250 ms at %s',
    async (name) => {
      const { tookMs } = await leave(scripted.doors.named(name), false);
      expect(tookMs).toBeLessThan(LEAVING_MS);
    },
  );

  it.each(doorNames.map((name) => `${name} stream`))(
    'mid-stream closes the upstream within 250 ms at %s',
    async (name) => {
      const { tookMs } = await leave(scripted.doors.named(name), true);
      expect(tookMs).toBeLessThan(LEAVING_MS);
    },
  );

  it('is neither failed over nor blamed on the provider', async () => {
    await expect.poll(() => scripted.gateway.app.inFlight()).toBe(0);
    expect(scripted.other.requests).toEqual([]);
    const provider = scripted.gateway.app.gateway.listProviders().find(({ name }) => name === 'first');
    expect(provider?.status).toMatchObject({ errorRate: 0, lastError: '', activeRequests: 0 });
  });

  describe('having stopped reading', () => {
    const session = () => openSession(scripted.gateway.port);

    it.each([
      ['HTTP/1.1', () => unreadHttp1(scripted.gateway.port, 'both')],
      ['HTTP/2', () => unreadHttp2(session(), 'both')],
      ['gRPC', () => unreadGrpc(session(), 'both')],
    ])('closes the upstream within 250 ms on %s', async (_, call) => {
      for (const isStuck of [false, true]) {
        const leaveNow = call();
        const exchange = await scripted.upstream.next();
        if (isStuck) await fillUntilStuck(exchange);
        const left = performance.now();
        leaveNow();
        await exchange.closed;
        expect(performance.now() - left).toBeLessThan(LEAVING_MS);
      }
      await expect.poll(() => scripted.gateway.app.inFlight()).toBe(0);
    });
  });

  it('a thousand times leaves no handler, timer, listener or socket', { timeout: 60_000 }, async () => {
    await scripted.doors.close();
    await expect.poll(() => scripted.upstream.openSockets()).toBe(0);
    const before = resources();

    const doors = openDoors(scripted.gateway.url);
    const { ask, answer } = manyAtOnce();
    scripted.upstream.script(answer);
    const ways = doors.all.flatMap((door) =>
      door.streaming ? [ask(door, false), ask(door, true)] : [ask(door, false)],
    );
    for (let left = 0; left < 960; left += ways.length) await Promise.all(ways.map((way) => way()));
    scripted.upstream.script(undefined);
    const { port } = scripted.gateway;
    const session = openSession(port);
    for (let left = 0; left < 40; left += 3) {
      for (const call of [
        () => unreadHttp1(port, 'both'),
        () => unreadHttp2(session, 'both'),
        () => unreadGrpc(session, 'both'),
      ]) {
        const leaveNow = call();
        const exchange = await scripted.upstream.next();
        await fillUntilStuck(exchange);
        leaveNow();
        await exchange.closed;
      }
    }
    session.close();
    await doors.close();

    await expect.poll(() => scripted.gateway.app.inFlight()).toBe(0);
    await expect.poll(() => scripted.upstream.openAnswers()).toBe(0);
    await expect.poll(() => scripted.upstream.openSockets()).toBe(0);
    const left = () => Object.entries(resources()).filter(([kind, count]) => count > (before[kind] ?? 0));
    await expect.poll(left, { timeout: 5000 }).toEqual([]);
    for (const { status } of scripted.gateway.app.gateway.listProviders()) expect(status?.activeRequests).toBe(0);
    expect(warnings.map(String)).toEqual([]);
  });
});

/** Ways to call and leave, many at once: the upstream tells the calls apart by a word in the question. */
function manyAtOnce() {
  const wasAsked = new Map<string, () => void>();
  let calls = 0;
  return {
    async answer(exchange: Exchange): Promise<void> {
      const [, manner, word = ''] = /(early|mid-stream) (call-\d+)/.exec(exchange.request.text) ?? [];
      if (manner === 'mid-stream') await exchange.event(chunk({ content: 'one ' }));
      else wasAsked.get(word)?.();
    },
    ask: (door: Door, midStream: boolean) => async (): Promise<void> => {
      const word = `call-${calls++}`;
      const controller = new AbortController();
      const reached = new Promise<void>((resolve) => wasAsked.set(word, resolve));
      const heard = Promise.withResolvers<void>();
      const text = `${midStream ? 'mid-stream' : 'early'} ${word}`;
      const called = door.ask({ model: 'both', text, signal: controller.signal, onEvent: () => heard.resolve() });
      await (midStream ? heard.promise : reached);
      controller.abort();
      await called;
      wasAsked.delete(word);
    },
  };
}

/** What keeps this process alive, by kind. */
function resources(): Record<string, number> {
  const kinds = process.getActiveResourcesInfo().filter((kind) => kind !== 'Immediate' && kind !== 'TickObject');
  return Object.fromEntries([...Map.groupBy(kinds, (kind) => kind)].map(([kind, all]) => [kind, all.length]));
}

/** Stream until the whole way to the caller is full and the upstream is made to wait. */
async function fillUntilStuck(exchange: Exchange): Promise<void> {
  const event = chunk({ content: 'x'.repeat(64 * 1024) });
  const closed = exchange.closed.then(() =>
    Promise.reject(new Error('the upstream was closed while it filled the way')),
  );
  closed.catch(() => {});
  const stuck = Symbol('stuck');
  while ((await Promise.race([exchange.event(event), after(150, stuck), closed])) !== stuck);
}
