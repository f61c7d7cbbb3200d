import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { chunk, type ScriptedUpstream, saying, startScriptedUpstream } from '../support/scripted-upstream.ts';
import { unreadHttp1 } from '../support/unread-caller.ts';

let upstream: ScriptedUpstream | undefined;
let gateway: GatewayProcess | undefined;
afterEach(async () => {
  await gateway?.close();
  await upstream?.close();
});

async function started(
  more: Record<string, unknown>,
  environment: Record<string, string> = {},
  wrapper: readonly string[] = [],
): Promise<{ upstream: ScriptedUpstream; gateway: GatewayProcess }> {
  upstream = await startScriptedUpstream();
  const config = { providers: [scriptedProvider('first', upstream)], ...more };
  gateway = await startGatewayProcess(config, environment, wrapper);
  return { upstream, gateway };
}

async function healthMs({ url }: GatewayProcess): Promise<number> {
  const began = performance.now();
  expect((await fetch(`${url}/health`)).status).toBe(200);
  return performance.now() - began;
}

function call({ url }: GatewayProcess, text: string, stream = false): Promise<Response> {
  const body = JSON.stringify({ model: 'scripted-model', stream, messages: [{ role: 'user', content: text }] });
  return fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
}

describe('a heap of 256 MB', () => {
  // With the cache each of 200 answers was put together to be stored, up to 8 MiB: the process died within two seconds.
  it.each([
    ['without the cache', false, false],
    ['with equal calls that share an answer, and one that reads it', true, true],
    ['with the cache, each another one', true, false],
  ])(
    'holds 200 large streams that nobody reads, %s',
    async (_, isCached, isShared) => {
      // On a machine that has other work the loop may be late: here only memory is to count.
      const config = { cache: { enabled: isCached }, overload: { event_loop_delay: '0s' } };
      const own = await started(config, { NODE_OPTIONS: '--max-old-space-size=256' });
      const words = 'x'.repeat(10_000);
      own.upstream.script(async (exchange) => {
        let isOver = false;
        exchange.closed.then(() => {
          isOver = true;
        });
        // 20 MB each, if anybody read them.
        for (let at = 0; at < 2000 && !isOver; at++) await exchange.event(chunk({ content: words }));
        exchange.done();
      });
      const leavers = Array.from({ length: 200 }, (_, at) =>
        unreadHttp1(own.gateway.port, 'scripted-model', isShared ? 'hi' : `hi ${at}`),
      );
      // Equal calls share one call upstream, until its log is full and its start is gone.
      const asked = isShared ? 1 : 200;
      await expect.poll(() => own.upstream.requests.length, { timeout: 30_000 }).toBeGreaterThanOrEqual(asked);
      if (isShared) {
        const reader = (await call(own.gateway, 'hi', true)).body?.getReader();
        for (let bytes = 0; bytes < 10_000_000; ) bytes += (await reader?.read())?.value?.length ?? 10_000_000;
        await reader?.cancel();
      }
      await pause(1500);
      if (isShared) expect(own.upstream.requests.length).toBeLessThan(100);
      // 500 on a quiet machine; other tests run beside this one.
      expect(await healthMs(own.gateway)).toBeLessThan(2_000);
      for (const leave of leavers) leave();
      own.upstream.script(saying('hi'));
      await expect.poll(async () => (await call(own.gateway, 'another')).status, { timeout: 5000 }).toBe(200);
      expect(own.gateway.process.exitCode).toBeNull();
    },
    60_000,
  );
});

describe('256 file descriptors', () => {
  it('are enough to live on, and to serve calls while clients want all of them', async () => {
    const own = await started({}, {}, ['bash', '-c', 'ulimit -n 256 && exec "$@"', 'bash']);
    own.upstream.script(saying('hi'));
    expect((await call(own.gateway, 'first')).status).toBe(200);

    const sockets: Socket[] = [];
    let closed = 0;
    for (let at = 0; at < 400; at++) {
      const socket = connect(own.gateway.port, '127.0.0.1');
      socket.on('error', () => {}).on('close', () => closed++);
      sockets.push(socket);
    }
    await expect.poll(() => closed, { timeout: 5000 }).toBeGreaterThan(300);
    expect(own.gateway.process.exitCode).toBeNull();
    // fetch keeps the connection of its first call, which came before the crowd.
    expect((await call(own.gateway, 'second')).status).toBe(200);

    for (const socket of sockets) socket.destroy();
    const statuses = await Promise.all(Array.from({ length: 80 }, (_, at) => call(own.gateway, `q${at}`)));
    expect(new Set(statuses.map(({ status }) => status))).toEqual(new Set([200]));
    const dropped = own.gateway.lines.filter(({ msg }) => msg === 'connections were closed: there are too many');
    expect(dropped.length).toBe(1);
  }, 30_000);
});
