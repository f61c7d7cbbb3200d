import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { ConfigFile } from '../support/gateway.ts';
import { type GatewayWithDoors, scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import { type ScriptedUpstream, saying, startScriptedUpstream, wholeAnswer } from '../support/scripted-upstream.ts';

const good = JSON.stringify(wholeAnswer('over TLS'));

async function listening(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** A port where nobody listens. */
async function closedPort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const provider = (baseUrl: string): ConfigFile => ({
  name: 'bad',
  kind: 'openai_compatible',
  base_url: baseUrl,
  api_key: 'the-secret-of-the-provider',
  default_model: 'scripted-model',
});

let other: ScriptedUpstream;
beforeAll(async () => {
  other = await startScriptedUpstream();
  other.script(saying('from the other'));
});
afterAll(() => other.close());

/** A gateway that asks the bad one first, by any name `both-…`; without another one, by any name at all. */
async function over(bad: ConfigFile, more: Record<string, object> = {}, environment: Record<string, string> = {}) {
  const targets = [
    { provider: 'bad', model: '' },
    { provider: 'other', model: '' },
  ];
  const started = await startGatewayOver(
    [bad, scriptedProvider('other', other)],
    {
      routes: [
        { model: 'both-*', strategy: 'failover', targets },
        { model: 'bad-*', targets: targets.slice(0, 1) },
      ],
      ...more,
    },
    environment,
  );
  onTestFinished(() => started.close());
  return started;
}

/** Every door goes on to the other provider, having tried the bad one once. */
async function expectFailover({ doors }: GatewayWithDoors, reason: string): Promise<void> {
  const outcomes = await Promise.all(
    doors.all.map(async ({ name, ask }, at) => ({ name, ...(await ask({ model: `both-${at}` })) })),
  );
  for (const { name, failure, told, completion, headers } of outcomes) {
    expect([name, failure, told.text]).toEqual([name, undefined, 'from the other']);
    if (completion) {
      expect(completion.attempts).toMatchObject([
        { provider: 'bad', outcome: AttemptOutcome.FAILED, reason },
        { provider: 'other', outcome: AttemptOutcome.SUCCEEDED },
      ]);
    } else if (headers['x-gateway-attempts']) expect([name, headers['x-gateway-attempts']]).toEqual([name, '2']);
  }
}

/** Every door fails where there is no other provider, and says nothing that is not the caller's business. */
async function expectFailure({ doors }: GatewayWithDoors, status: number, code: string, message: RegExp) {
  const outcomes = await Promise.all(
    doors.all.map(async ({ name, ask }, at) => ({ name, ...(await ask({ model: `bad-${at}` })) })),
  );
  for (const { name, failure } of outcomes) {
    expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? status : code]);
    expect([name, failure?.message]).toEqual([name, expect.stringMatching(message)]);
    expect(JSON.stringify(failure)).not.toMatch(/127\.0\.0\.1|:\d{4,5}|node:|\.ts|the-secret/);
  }
  return outcomes;
}

describe('a connection that is refused', () => {
  it('leads to the next provider at once, and is 503 without one', async () => {
    const gateway = await over(provider(`http://127.0.0.1:${await closedPort()}/v1`));
    const began = performance.now();
    await expectFailover(gateway, 'provider_unavailable');
    expect(performance.now() - began).toBeLessThan(1_000);
    await expectFailure(gateway, 503, 'unavailable', /^bad refused the connection$/);
  });

  it('opens the breaker with the fifth in a row', async () => {
    const { doors, gateway } = await over(provider(`http://127.0.0.1:${await closedPort()}/v1`));
    for (let call = 0; call < 5; call++) await doors.named('openai unary').ask({ model: 'both-x' });
    const { completion } = await doors.named('grpc unary').ask({ model: 'both-x' });
    expect(completion?.attempts[0]).toMatchObject({ provider: 'bad', outcome: AttemptOutcome.SKIPPED });
    expect(gateway.app.gateway.circuitBreakerOf('bad').whole).toMatchObject({
      failureCount: 5,
      timesOpened: 1,
      reason: 'provider_unavailable',
    });
  });
});

describe('a host that has no address', () => {
  it('leads to the next provider, and is 503 without one', async () => {
    const gateway = await over(provider('http://nowhere.invalid/v1'), { timeouts: { first_token: '5s' } });
    await expectFailover(gateway, 'provider_unavailable');
    await expectFailure(gateway, 503, 'unavailable', /^the host of bad was not found$/);
  });
});

describe('a certificate', () => {
  const folder = mkdtempSync(join(tmpdir(), 'certificates-'));
  const caFile = join(folder, 'ca.pem');
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const read = (file: string) => readFileSync(join(folder, file), 'utf8');
  beforeAll(() =>
    openssl('req', '-x509', ...newKey, '-days', '2', '-subj', '/CN=CA', '-keyout', 'ca.key', '-out', 'ca.pem'),
  );
  afterAll(() => rmSync(folder, { recursive: true }));

  /** One of the authority that the gateway trusts. */
  function signed(names: string, days: string): { cert: string; key: string } {
    openssl(
      'req',
      '-new',
      ...newKey,
      '-subj',
      '/CN=x',
      '-addext',
      `subjectAltName=${names}`,
      '-keyout',
      'key',
      '-out',
      'csr',
    );
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-copy_extensions', 'copy'];
    openssl('x509', '-req', '-in', 'csr', ...by, '-days', days, '-out', 'cert');
    return { cert: read('cert'), key: read('key') };
  }

  function selfSigned(): { cert: string; key: string } {
    openssl(
      'req',
      '-x509',
      ...newKey,
      '-subj',
      '/CN=x',
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-keyout',
      'key',
      '-out',
      'cert',
    );
    return { cert: read('cert'), key: read('key') };
  }

  async function serving(tls: { cert: string; key: string }) {
    const seen = { connections: 0, requests: 0 };
    const server = createTlsServer(tls, (request, response) => {
      seen.requests++;
      request.resume();
      response.writeHead(200, { 'content-type': 'application/json' }).end(good);
    });
    server.on('connection', () => seen.connections++);
    const port = await listening(server);
    return { seen, port, gateway: await over(provider(`https://127.0.0.1:${port}/v1`), {}, { SSL_CERT_FILE: caFile }) };
  }

  it('that is good is good', async () => {
    const { gateway } = await serving(signed('IP:127.0.0.1', '2'));
    const { failure, told } = await gateway.doors.named('openai unary').ask({ model: 'bad-1' });
    expect([failure, told.text]).toEqual([undefined, 'over TLS']);
  });

  it.each([
    ['has expired', () => signed('IP:127.0.0.1', '-1'), 'CERT_HAS_EXPIRED'],
    ['is of another name', () => signed('DNS:other.test', '2'), 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['vouches for itself', selfSigned, 'DEPTH_ZERO_SELF_SIGNED_CERT'],
  ])('that %s ends the attempt, which goes elsewhere and never to the same provider again', async (_, make, code) => {
    const { seen, gateway } = await serving(make());
    await expectFailover(gateway, 'provider_unavailable');
    await expectFailure(gateway, 503, 'unavailable', new RegExp(`^no trusted TLS connection to bad \\(${code}\\)$`));
    expect(seen.requests).toBe(0);
    // One for each call: alone, nothing is gained by asking again.
    expect(seen.connections).toBe(2 * gateway.doors.all.length);
  });
});

describe('a provider that takes connections and says nothing', () => {
  it('leads to the next provider at the limit and is left at once; it is 504 without one', async () => {
    const open = new Set<Socket>();
    const port = await listening(
      createTcpServer((socket) => {
        open.add(socket);
        socket.on('error', () => {});
        socket.resume().on('close', () => open.delete(socket));
      }),
    );
    const gateway = await over(provider(`http://127.0.0.1:${port}/v1`), {
      timeouts: { first_token: '400ms', attempt_unary: '400ms' },
    });
    const began = performance.now();
    await expectFailover(gateway, 'provider_timeout');
    const tookMs = performance.now() - began;
    expect(tookMs).toSatisfy((ms: number) => ms > 390 && ms < 1_400);
    await expect.poll(() => open.size, { timeout: 500 }).toBe(0);
    await expectFailure(gateway, 504, 'deadline_exceeded', /^bad sent no (first token|answer) within 400 ms$/);
    await expect.poll(() => open.size, { timeout: 500 }).toBe(0);
  });
});

describe('a connection that the provider closes while it is idle', () => {
  it('is noticed by nobody in 200 calls', async () => {
    const server = createHttpServer((request, response) => {
      request.resume();
      request.on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end(good));
    });
    server.keepAliveTimeout = 50;
    server.keepAliveTimeoutBuffer = 0;
    const { doors } = await over(provider(`http://127.0.0.1:${await listening(server)}/v1`), {
      retry: { attempts: 1 },
    });
    const { ask } = doors.named('connect-binary unary');
    const lanes = Array.from({ length: 10 }, async (_, lane) => {
      const failures: unknown[] = [];
      for (let call = 0; call < 20; call++) {
        const { failure } = await ask({ model: 'bad-1' });
        if (failure) failures.push(failure);
        await after(44 + ((lane * 7 + call) % 13));
      }
      return failures;
    });
    expect((await Promise.all(lanes)).flat()).toEqual([]);
  });
});
