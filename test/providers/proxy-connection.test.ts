import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { GatewayError } from '../../src/errors.ts';
import { HttpClient, type HttpClientOptions, type HttpRequest } from '../../src/providers/http.ts';
import { trustAlso } from '../../src/providers/trust.ts';
import { privateAuthority, startProxy, type TestProxy, type TestProxyOptions } from '../support/proxy.ts';
import { startUpstream, type Upstream } from './support.ts';

const authority = privateAuthority();

function clientAt(baseUrl: string, proxy: string | undefined, more: Partial<HttpClientOptions> = {}): HttpClient {
  const client = new HttpClient({ provider: 'upstream', baseUrl, proxy, ...more });
  onTestFinished(() => client.close());
  return client;
}

function get(path = '/', fields: Partial<HttpRequest> = {}): HttpRequest {
  return { method: 'GET', path, headers: {}, signal: new AbortController().signal, ...fields };
}

async function upstream(): Promise<Upstream> {
  const started = await startUpstream((_, response, body) => response.end(`got ${body}`));
  onTestFinished(() => started[Symbol.asyncDispose]());
  return started;
}

/** A provider under `https://api.test` whose certificate only the private authority vouches for. */
async function tlsUpstream(): Promise<{ port: number; sockets: Set<Socket>; hosts: (string | undefined)[] }> {
  const sockets = new Set<Socket>();
  const hosts: (string | undefined)[] = [];
  const server = createServer(authority, (request, response) => {
    hosts.push(request.headers.host);
    response.write('secret ');
    if (request.url !== '/endless') response.end('answer');
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets, hosts };
}

async function proxy(options?: TestProxyOptions): Promise<TestProxy> {
  const started = await startProxy(options);
  onTestFinished(() => started[Symbol.asyncDispose]());
  return started;
}

async function failureOf(promise: Promise<unknown>): Promise<GatewayError> {
  const error = await promise.then(
    () => undefined,
    (cause) => cause,
  );
  expect(error).toBeInstanceOf(GatewayError);
  return error as GatewayError;
}

describe('through a proxy, a provider without TLS', () => {
  it('is asked by its whole URL', async () => {
    const { url, requests } = await upstream();
    const { port, asked } = await proxy();
    const base = `http://api.test:${new URL(url).port}`;

    const client = clientAt(`${base}/v1`, `http://127.0.0.1:${port}`);
    const answer = await client.fetch(get('/v1/chat?a=b', { method: 'POST', body: 'hi', headers: { 'x-a': 'b' } }));

    expect(answer.body.toString()).toBe('got hi');
    expect(asked.map(({ what }) => what)).toEqual([`POST ${base}/v1/chat?a=b`]);
    expect(requests[0]).toMatchObject({ path: '/v1/chat?a=b', body: 'hi', headers: { 'x-a': 'b' } });
    expect(requests[0]?.headers.host).toBe(new URL(base).host);
    expect(requests[0]?.headers).not.toHaveProperty('proxy-authorization');
  });

  it('is streamed', async () => {
    const { url } = await upstream();
    const { port } = await proxy();

    const { body } = await clientAt(`http://api.test:${new URL(url).port}`, `http://127.0.0.1:${port}`).stream(get());

    expect((await body.next()).value?.toString()).toBe('got ');
  });

  it('is unavailable when the proxy is not there', async () => {
    const gone = await startProxy();
    await gone[Symbol.asyncDispose]();

    const error = await failureOf(clientAt('http://api.test', `http://127.0.0.1:${gone.port}`).fetch(get()));

    expect(error.reason).toBe('provider_unavailable');
    expect(error.message).toBe('the proxy on the way to upstream let no connection through');
  });
});

describe('credentials in the URL of a proxy', () => {
  const expected = `Basic ${Buffer.from('user:p@ss').toString('base64')}`;

  it('are shown to it, with requests and with tunnels', async () => {
    const { port, asked } = await proxy({ refuseWith: 502 });
    const url = `http://user:p%40ss@127.0.0.1:${port}`;

    await clientAt('http://api.test', url).fetch(get());
    await failureOf(clientAt('https://api.test', url).fetch(get()));

    expect(asked.map(({ headers }) => headers['proxy-authorization'])).toEqual([expected, expected]);
  });
});

describe('through a proxy, a provider with TLS', () => {
  const before = getCACertificates('default');
  beforeAll(() => setDefaultCACertificates([...before, authority.ca]));
  afterAll(() => setDefaultCACertificates(before));

  it('is reached in tunnels, which are kept', async () => {
    const { port: providerPort, hosts, sockets } = await tlsUpstream();
    const { port, asked } = await proxy();
    const client = clientAt(`https://api.test:${providerPort}/v1`, `http://127.0.0.1:${port}`);

    for (let call = 0; call < 10; call++) {
      expect((await client.fetch(get('/v1/a'))).body.toString()).toBe('secret answer');
    }

    // A call that comes in the very moment in which another ends opens a second one.
    expect(asked.length).toBeLessThanOrEqual(2);
    expect(new Set(asked.map(({ what }) => what))).toEqual(new Set([`CONNECT api.test:${providerPort}`]));
    expect(sockets.size).toBe(asked.length);
    expect(hosts).toEqual(Array(10).fill(`api.test:${providerPort}`));
  });

  it('is reached through a proxy that speaks TLS, too', async () => {
    const { port: providerPort } = await tlsUpstream();
    const { port, asked } = await proxy({ tls: authority });

    const client = clientAt(`https://api.test:${providerPort}`, `https://127.0.0.1:${port}`);

    expect((await client.fetch(get())).body.toString()).toBe('secret answer');
    expect(asked.length).toBe(1);
  });

  it('has its own name checked, not the name of the proxy', async () => {
    const { port: providerPort } = await tlsUpstream();
    const { port } = await proxy();

    const client = clientAt(`https://api.wrong:${providerPort}`, `http://127.0.0.1:${port}`);
    const error = await failureOf(client.fetch(get()));

    expect(error.reason).toBe('provider_unavailable');
    expect(error.message).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
  });

  it.each([403, 407, 502])('is unavailable when the proxy refuses with %d', async (refuseWith) => {
    const { port } = await proxy({ refuseWith });

    const error = await failureOf(clientAt('https://api.test', `http://127.0.0.1:${port}`).fetch(get()));

    expect(error.reason).toBe('provider_unavailable');
    expect(error.message).toBe(`the proxy on the way to upstream answered with status ${refuseWith}`);
  });

  it('is unavailable when the proxy is silent, and its socket is closed', async () => {
    const { port } = await proxy({ silent: true });

    const client = clientAt('https://api.test', `http://127.0.0.1:${port}`, { connectTimeoutMs: 50 });
    const error = await failureOf(client.fetch(get()));

    expect(error.reason).toBe('provider_unavailable');
  });

  it('loses its tunnel when the call is aborted', async () => {
    const { port: providerPort, sockets } = await tlsUpstream();
    const { port } = await proxy();
    const controller = new AbortController();
    const client = clientAt(`https://api.test:${providerPort}`, `http://127.0.0.1:${port}`);

    const { body } = await client.stream(get('/endless', { signal: controller.signal }));
    const [socket] = sockets;
    await body.next();
    controller.abort(new Error('left'));

    await expect(body.next()).rejects.toThrow('left');
    await new Promise((closed) => (socket?.destroyed ? closed(0) : socket?.once('close', closed)));
  });
});

describe('certificates in a file', () => {
  it('are trusted beside the usual ones', async () => {
    const before = getCACertificates('default');
    const folder = await mkdtemp(join(tmpdir(), 'trust-'));
    onTestFinished(async () => {
      setDefaultCACertificates(before);
      await rm(folder, { recursive: true });
    });
    const { port } = await tlsUpstream();
    const refused = await failureOf(clientAt(`https://127.0.0.1:${port}`, undefined).fetch(get()));
    expect(refused.message).toContain('no trusted TLS connection');

    const file = join(folder, 'ca.pem');
    writeFileSync(file, `# ours\n${authority.ca}`);
    trustAlso(file);

    expect((await clientAt(`https://127.0.0.1:${port}`, undefined).fetch(get())).status).toBe(200);
    expect(getCACertificates('default').length).toBeGreaterThan(before.length);
    writeFileSync(file, 'no certificate');
    expect(() => trustAlso(file)).toThrow('no certificate');
  });
});
