import { createServer as createTcpServer, type Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { GatewayError } from '../../src/errors.ts';
import { HttpClient, type HttpRequest, maxAnswerBytes, pathBelow, readWhole } from '../../src/providers/http.ts';
import { startUpstream, type Upstream } from './support.ts';

function clientAt(baseUrl: string, connectTimeoutMs?: number): HttpClient {
  const client = new HttpClient({ provider: 'upstream', baseUrl, connectTimeoutMs });
  onTestFinished(() => client.close());
  return client;
}

function get(fields: Partial<HttpRequest> = {}): HttpRequest {
  return { method: 'GET', path: '/', headers: {}, signal: new AbortController().signal, ...fields };
}

async function upstream(handler: Parameters<typeof startUpstream>[0]): Promise<Upstream> {
  const started = await startUpstream(handler);
  onTestFinished(() => started[Symbol.asyncDispose]());
  return started;
}

/** A port on which everything that comes is answered by hand. */
async function tcpUpstream(onConnection: (socket: Socket, nth: number) => void): Promise<string> {
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    onConnection(socket, sockets.length);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
}

async function failureOf(promise: Promise<unknown>): Promise<GatewayError> {
  const error = await promise.then(
    () => undefined,
    (cause) => cause,
  );
  expect(error).toBeInstanceOf(GatewayError);
  return error as GatewayError;
}

/** Resolves once the condition holds; the test's own time limit ends a wait in vain. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

/** Writes down what a request's watch hears. */
function watching() {
  const heard: string[] = [];
  const watch = {
    begin: () => ({}),
    sent: () => void heard.push('sent'),
    answered: (status: number) => void heard.push(`answered ${status}`),
    ended: (failure: unknown) => void heard.push(failure instanceof Error ? `failed: ${failure.message}` : 'ended'),
  };
  return { heard, watch };
}

describe('who watches a request', () => {
  it('hears when it is sent, answered and over', async () => {
    const { url } = await upstream((_, response) => response.writeHead(201).end('hello'));
    const { heard, watch } = watching();
    await clientAt(url).fetch(get({ watch }));
    expect(heard).toEqual(['sent', 'answered 201', 'ended']);
  });

  it('hears once that it was aborted', async () => {
    const { url } = await upstream((_, response) => response.writeHead(200).write('hello'));
    const { heard, watch } = watching();
    const abort = new AbortController();
    const { body } = await clientAt(url).stream(get({ watch, signal: abort.signal }));
    await body.next();
    abort.abort(new Error('gone'));
    await expect(body.next()).rejects.toThrow('gone');
    expect(heard).toEqual(['sent', 'answered 200', 'failed: gone']);
  });

  it('hears that nobody was reached', async () => {
    const { heard, watch } = watching();
    await failureOf(clientAt('http://127.0.0.1:1').fetch(get({ watch })));
    expect(heard.length).toBe(1);
    expect(heard[0]).toMatch(/^failed: /);
  });

  it('hears that it is sent again where the first connection was dead', async () => {
    const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
    const url = await tcpUpstream((socket, nth) => {
      let requests = 0;
      socket.on('data', () => {
        if (nth === 1 && ++requests === 2) socket.destroy();
        else socket.write(answer);
      });
    });
    const client = clientAt(url);
    await client.fetch(get());
    // The connection is free a moment after its answer is whole: until then there would be a second one.
    await new Promise(setImmediate);
    const { heard, watch } = watching();
    await client.fetch(get({ method: 'POST', body: 'x', watch }));
    expect(heard).toEqual(['sent', 'sent', 'answered 200', 'ended']);
  });
});

describe('a whole answer', () => {
  it('comes with status, headers and bytes', async () => {
    const { url, requests } = await upstream((_, response) => {
      response.writeHead(201, { 'x-request-id': 'up-1' }).end('hello');
    });

    const seen: unknown[] = [];
    const request = get({
      method: 'POST',
      path: '/a?b=c',
      body: '{"x":1}',
      onHeaders: (headers) => seen.push(headers['x-request-id']),
    });
    const { status, headers, body } = await clientAt(url).fetch(request);

    expect([status, headers['x-request-id'], body.toString()]).toEqual([201, 'up-1', 'hello']);
    expect(seen).toEqual(['up-1']);
    expect(requests[0]).toMatchObject({ method: 'POST', path: '/a?b=c', body: '{"x":1}' });
  });

  it('may be 16 MiB, and not a byte more', async () => {
    const { url } = await upstream((request, response) => response.end(Buffer.alloc(Number(request.url?.slice(1)))));
    const client = clientAt(url);

    expect((await client.fetch(get({ path: `/${maxAnswerBytes}` }))).body.byteLength).toBe(maxAnswerBytes);
    const error = await failureOf(client.fetch(get({ path: `/${maxAnswerBytes + 1}` })));

    expect(error.reason).toBe('provider_protocol');
    expect(error.message).toContain(String(maxAnswerBytes));
  });

  it('is not followed elsewhere when it is a redirect', async () => {
    const { url, requests } = await upstream((_, response) => response.writeHead(307, { location: '/other' }).end());

    expect((await clientAt(url).fetch(get())).status).toBe(307);
    expect(requests.length).toBe(1);
  });

  it('waits behind an interim answer', async () => {
    const { url } = await upstream((_, response) => {
      response.writeEarlyHints({ link: '</x>; rel=preload' });
      response.end('final');
    });

    expect((await clientAt(url).fetch(get())).body.toString()).toBe('final');
  });
});

describe('a streamed answer', () => {
  it('hands over what came before the connection was lost, and then the failure', async () => {
    const { url } = await upstream((_, response) => {
      response.write('first');
      setImmediate(() => response.socket?.resetAndDestroy());
    });

    const { body } = await clientAt(url).stream(get());
    const first = await body.next();
    const error = await failureOf(body.next());

    expect(first.value?.toString()).toBe('first');
    expect(error.reason).toBe('provider_unavailable');
  });

  it('calls an orderly close in the middle a truncation', async () => {
    const url = await tcpUpstream((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfirst'));
    });

    const { body } = await clientAt(url).stream(get());

    expect((await failureOf(readWhole('upstream', body))).reason).toBe('provider_protocol');
  });

  it('stops the upstream when nobody reads, and goes on when somebody does', async () => {
    let written = 0;
    const size = 64 * 1024 * 1024;
    const piece = Buffer.alloc(64 * 1024);
    const { url } = await upstream((_, response) => {
      const write = (): void => {
        while (written < size) {
          written += piece.byteLength;
          if (!response.write(piece)) return void response.once('drain', write);
        }
        response.end();
      };
      write();
    });

    const { body } = await clientAt(url).stream(get());
    let before = -1;
    while (before !== written) {
      before = written;
      await new Promise((later) => setTimeout(later, 50));
    }
    expect(written).toBeLessThan(size / 2);

    let read = 0;
    for await (const bytes of body) read += bytes.byteLength;
    expect(read).toBe(size);
  });

  it('leaves the connection to the next call when it is released before its last bytes', async () => {
    let end: () => Promise<void> = async () => undefined;
    const { url, sockets } = await upstream((_, response) => {
      response.write('data');
      end = () => new Promise((ended) => response.end('rest', ended));
    });
    const client = clientAt(url);

    for (let call = 0; call < 3; call++) {
      const { body } = await client.stream(get());
      await body.next();
      body.release();
      await body.return();
      await end();
      // Both sides live in this process: what was sent has arrived after a few turns of its loop.
      for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    }

    expect(sockets.size).toBe(1);
  });

  it('is given up a second after its release if it does not end', async () => {
    const { url, sockets } = await upstream((_, response) => response.write('data'));

    const { body } = await clientAt(url).stream(get());
    await body.next();
    body.release();

    await until(() => sockets.size === 0);
  });
});

describe('an abort', () => {
  const reason = new GatewayError('cancelled', 'the caller left');

  it('before the call sends nothing', async () => {
    const { url, requests } = await upstream((_, response) => response.end());

    await expect(clientAt(url).fetch(get({ signal: AbortSignal.abort(reason) }))).rejects.toBe(reason);
    expect(requests).toEqual([]);
  });

  it.each(['before the headers', 'within the body'])(
    '%s throws the reason and closes the socket at once',
    async (when) => {
      const { url, requests, sockets } = await upstream((_, response) => {
        if (when === 'within the body') response.write('first');
      });
      const controller = new AbortController();

      const answer = clientAt(url).fetch(get({ signal: controller.signal }));
      await until(() => requests.length === 1);
      const began = performance.now();
      controller.abort(reason);

      await expect(answer).rejects.toBe(reason);
      await until(() => sockets.size === 0);
      expect(performance.now() - began).toBeLessThan(250);
    },
  );

  it('of a stream that nobody reads closes its socket, too', async () => {
    const { url, sockets } = await upstream((_, response) => response.write(Buffer.alloc(1024 * 1024)));
    const controller = new AbortController();

    const { body } = await clientAt(url).stream(get({ signal: controller.signal }));
    await body.peek();
    controller.abort(reason);

    await expect(body.next()).rejects.toBe(reason);
    await until(() => sockets.size === 0);
  });

  it('while the connection is being made is noticed at once', async () => {
    const { url, requests } = await upstream((_, response) => response.end());
    const controller = new AbortController();

    const answer = clientAt(url).fetch(get({ signal: controller.signal }));
    controller.abort(reason);

    await expect(answer).rejects.toBe(reason);
    expect(requests).toEqual([]);
  });

  it('leaves nothing behind, however often it happens', async () => {
    const { url, sockets } = await upstream((_, response) => response.write('first'));
    const client = clientAt(url);
    const listening = new Set<unknown>();

    for (let call = 0; call < 200; call++) {
      const controller = new AbortController();
      const { signal } = controller;
      const { addEventListener, removeEventListener } = EventTarget.prototype;
      signal.addEventListener = function add(...given: Parameters<typeof addEventListener>) {
        listening.add(given[1]);
        addEventListener.apply(signal, given);
      };
      signal.removeEventListener = function remove(...given: Parameters<typeof removeEventListener>) {
        listening.delete(given[1]);
        removeEventListener.apply(signal, given);
      };
      const { body } = await client.stream(get({ signal }));
      if (call % 2 === 0) await body.return();
      else controller.abort(reason);
    }

    await until(() => sockets.size === 0);
    expect(listening.size).toBe(0);
    expect(process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length).toBeLessThan(5);
  });
});

describe('a connection that was idle', () => {
  it('and was closed by the provider meanwhile is replaced without a word', async () => {
    const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
    const url = await tcpUpstream((socket, nth) => {
      let requests = 0;
      // The first connection answers once, and is closed when the second request has come.
      socket.on('data', () => (nth === 1 && ++requests === 2 ? socket.destroy() : socket.write(answer)));
    });
    const client = clientAt(url);

    await client.fetch(get());
    expect((await client.fetch(get({ method: 'POST', body: 'x' }))).body.toString()).toBe('ok');
  });

  it('and fails again on a new one is a failure', async () => {
    let connections = 0;
    const url = await tcpUpstream((socket, nth) => {
      connections++;
      let requests = 0;
      socket.on('data', () =>
        nth === 1 && ++requests === 1
          ? socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
          : socket.destroy(),
      );
    });
    const client = clientAt(url);

    await client.fetch(get());
    const error = await failureOf(client.fetch(get()));

    expect(error.reason).toBe('provider_unavailable');
    expect(connections).toBe(2);
  });

  it('is not suspected when a new connection is reset: nothing is sent twice', async () => {
    let connections = 0;
    const url = await tcpUpstream((socket) => {
      connections++;
      socket.on('data', () => socket.resetAndDestroy());
    });

    await failureOf(clientAt(url).fetch(get()));

    expect(connections).toBe(1);
  });
});

describe('a fault of the network', () => {
  it('is named without address and port when the connection is refused', async () => {
    const closed = await startUpstream(() => undefined);
    await closed[Symbol.asyncDispose]();

    const error = await failureOf(clientAt(closed.url).fetch(get()));

    expect(error.reason).toBe('provider_unavailable');
    expect(error.message).toBe('upstream refused the connection');
    expect(error.message).not.toMatch(/127\.0\.0\.1|\d{4}/);
  });

  it('is named when the host does not exist', async () => {
    const error = await failureOf(clientAt('http://nothing.invalid').fetch(get()));

    expect(error.reason).toBe('provider_unavailable');
    expect(error.message).toBe('the host of upstream was not found');
  });

  it('is a protocol error when the answer is not HTTP', async () => {
    const url = await tcpUpstream((socket) => void socket.once('data', () => socket.write('SSH-2.0-OpenSSH_9.2\r\n')));

    expect((await failureOf(clientAt(url).fetch(get()))).reason).toBe('provider_protocol');
  });

  it('is a failure of TLS when the other side speaks none', async () => {
    const { url } = await upstream((_, response) => response.end());

    const error = await failureOf(clientAt(url.replace('http:', 'https:')).fetch(get()));

    expect(error.reason).toBe('provider_unavailable');
    expect(error.message).toMatch(/TLS/);
  });

  it('is the configuration when a header cannot be sent, and does not repeat the header', async () => {
    const { url } = await upstream((_, response) => response.end());

    const error = await failureOf(clientAt(url).fetch(get({ headers: { authorization: 'Bearer sk-1\nx: y' } })));

    expect(error.reason).toBe('provider_misconfigured');
    expect(error.message).not.toContain('sk-1');
  });
});

describe('pathBelow', () => {
  it.each([
    ['http://h/v1', '/v1/chat'],
    ['http://h/v1/', '/v1/chat'],
    ['http://h', '/chat'],
    ['http://h/openai/deployments/d?api-version=1', '/openai/deployments/d/chat?api-version=1'],
  ])('puts a path below %s', (baseUrl, path) => {
    expect(pathBelow(baseUrl, '/chat')).toBe(path);
  });
});
