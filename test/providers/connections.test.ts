import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient, type HttpClientOptions, type HttpRequest } from '../../src/providers/http.ts';

function clientAt(baseUrl: string, more: Partial<HttpClientOptions> = {}): HttpClient {
  const client = new HttpClient({ provider: 'upstream', baseUrl, ...more });
  onTestFinished(() => client.close());
  return client;
}

function get(fields: Partial<HttpRequest> = {}): HttpRequest {
  return { method: 'GET', path: '/', headers: {}, signal: new AbortController().signal, ...fields };
}

/** A provider that counts its connections. */
async function startCounting(
  answer: (response: ServerResponse) => void,
  settings: (server: Server) => void = () => {},
): Promise<{ url: string; open: Set<Socket>; most: () => number; all: () => number }> {
  const open = new Set<Socket>();
  let most = 0;
  let all = 0;
  const server = createServer((_, response) => answer(response));
  settings(server);
  server.on('connection', (socket: Socket) => {
    all++;
    open.add(socket);
    most = Math.max(most, open.size);
    socket.on('close', () => open.delete(socket));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    open,
    most: () => most,
    all: () => all,
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves once the condition holds; the test's own time limit ends a wait in vain. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

describe('connections to one provider', () => {
  it('are no more than their limit for 500 calls at once, and all of them answer', async () => {
    const upstream = await startCounting((response) => setTimeout(() => response.end('hello'), 5));
    const client = new HttpClient({ provider: 'upstream', baseUrl: upstream.url, maxConnections: 40 });

    const answers = await Promise.all(Array.from({ length: 500 }, () => client.fetch(get())));

    expect(answers.filter(({ status, body }) => status === 200 && body.toString() === 'hello').length).toBe(500);
    expect([upstream.most(), upstream.all()]).toEqual([40, 40]);
    await client.close();
    await until(() => upstream.open.size === 0);
  });

  it('are no more than 512 unless told otherwise', async () => {
    const held: ServerResponse[] = [];
    const upstream = await startCounting((response) => held.push(response));
    const client = clientAt(upstream.url);

    const answers = Promise.all(Array.from({ length: 520 }, () => client.fetch(get())));
    await until(() => held.length === 512);
    await pause(20);
    expect(upstream.most()).toBe(512);
    for (const response of held) response.end('hello');
    await until(() => held.length === 520);
    for (const response of held.slice(512)) response.end('hello');

    expect((await answers).length).toBe(520);
  });

  it('are all closed when 500 callers leave, those who waited and those in the middle of their answers', async () => {
    const upstream = await startCounting((response) => response.write('first'));
    const client = clientAt(upstream.url, { maxConnections: 40 });
    const controller = new AbortController();

    const calls = Array.from({ length: 500 }, async () => {
      const { body } = await client.stream(get({ signal: controller.signal }));
      for await (const _ of body);
    });
    const settled = Promise.allSettled(calls);
    await until(() => upstream.open.size === 40);
    controller.abort(new Error('left'));

    const outcomes = await settled;
    expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true);
    await until(() => upstream.open.size === 0);
    // Nothing was connected for those who had waited in vain.
    expect(upstream.all()).toBe(40);
  });

  it('serve the next call after all who waited have left', async () => {
    let answering = false;
    const upstream = await startCounting((response) => {
      if (answering) response.end('hello');
    });
    const client = clientAt(upstream.url, { maxConnections: 2 });
    const controller = new AbortController();

    const calls = Array.from({ length: 20 }, () => client.fetch(get({ signal: controller.signal })));
    const settled = Promise.allSettled(calls);
    await until(() => upstream.open.size === 2);
    answering = true;
    controller.abort(new Error('left'));
    await settled;

    expect((await client.fetch(get())).body.toString()).toBe('hello');
  });
});

describe('a connection that the provider closes after 50 ms', () => {
  /** Ten callers who each ask twenty times, with breaks around the very moment of closing. */
  async function askTwoHundredTimes(client: HttpClient): Promise<number> {
    let answered = 0;
    const caller = async (nth: number) => {
      for (let call = 0; call < 20; call++) {
        const { body } = await client.fetch(get({ method: 'POST', body: '{}' }));
        if (body.toString() === 'hello') answered++;
        await pause(46 + ((nth + call) % 10));
      }
    };
    await Promise.all(Array.from({ length: 10 }, (_, nth) => caller(nth)));
    return answered;
  }

  it('fails none of 200 calls when it is announced', async () => {
    const upstream = await startCounting(
      (response) => response.end('hello'),
      (server) => {
        server.keepAliveTimeout = 50;
        server.keepAliveTimeoutBuffer = 0;
      },
    );

    expect(await askTwoHundredTimes(clientAt(upstream.url))).toBe(200);
  });

  it('fails none of 200 calls when nobody said so', async () => {
    const upstream = await startCounting((response) => {
      const { socket } = response;
      response.end('hello');
      // As a load balancer in between does: no header tells of it, and what is on its way then is lost.
      setTimeout(() => socket?.destroy(), 50);
    });

    expect(await askTwoHundredTimes(clientAt(upstream.url))).toBe(200);
  });
});
