import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startGatewayProcess } from '../support/gateway.ts';
import { privateAuthority, startProxy } from '../support/proxy.ts';

const authority = privateAuthority();
const answer = JSON.stringify({
  id: 'c',
  object: 'chat.completion',
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'from afar' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
});

/** A gateway as users run it, in an environment where the outside is behind a proxy and vouched for by a private authority. */
describe('the way to a provider', () => {
  const folder = mkdtempSync(join(tmpdir(), 'outbound-'));
  const caFile = join(folder, 'ca.pem');
  const upstream = createServer(authority, (request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
  });
  let port = 0;
  beforeAll(async () => {
    writeFileSync(caFile, authority.ca);
    await new Promise<void>((listening) => upstream.listen(0, '127.0.0.1', listening));
    ({ port } = upstream.address() as AddressInfo);
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
    upstream.closeAllConnections();
    upstream.close();
  });

  async function ask(environment: Record<string, string>, baseUrl: string) {
    const providers = [{ name: 'far', kind: 'openai_compatible', base_url: baseUrl, default_model: 'm' }];
    const gateway = await startGatewayProcess({ providers }, environment);
    onTestFinished(() => gateway.close());
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'far/m', messages: [{ role: 'user', content: 'hi' }] }),
    });
    return { status: response.status, body: await response.text(), lines: gateway.lines };
  }

  it.each(['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE'])(
    'leads through HTTPS_PROXY, with the authority of %s',
    async (name) => {
      const proxy = await startProxy();
      onTestFinished(() => proxy[Symbol.asyncDispose]());

      const environment = { https_proxy: `http://127.0.0.1:${proxy.port}`, [name]: caFile };
      const { status, body } = await ask(environment, `https://api.test:${port}/v1`);

      expect([status, body]).toEqual([200, expect.stringContaining('from afar')]);
      expect(proxy.asked[0]?.what).toBe(`CONNECT api.test:${port}`);
    },
  );

  it('is direct to loopback', async () => {
    const proxy = await startProxy({ refuseWith: 403 });
    onTestFinished(() => proxy[Symbol.asyncDispose]());

    const environment = { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}`, SSL_CERT_FILE: caFile };
    const { status } = await ask(environment, `https://127.0.0.1:${port}/v1`);

    expect(status).toBe(200);
    expect(proxy.asked).toEqual([]);
  });

  it('ends at a proxy that refuses, which is told without its address', async () => {
    const proxy = await startProxy({ refuseWith: 407 });
    onTestFinished(() => proxy[Symbol.asyncDispose]());

    const environment = { HTTPS_PROXY: `http://user:hunter2@127.0.0.1:${proxy.port}` };
    const { status, body, lines } = await ask(environment, `https://api.test:${port}/v1`);

    expect([status, JSON.parse(body).error.message]).toEqual([
      503,
      'the proxy on the way to far answered with status 407',
    ]);
    expect(JSON.stringify(lines) + body).not.toMatch(new RegExp(`hunter2|:${proxy.port}`));
  });

  it('is not trusted without the authority, and a file that is not there only warns', async () => {
    const { status, lines } = await ask({ SSL_CERT_FILE: join(folder, 'missing.pem') }, `https://127.0.0.1:${port}/v1`);

    expect(status).toBe(503);
    expect(lines.some(({ msg }) => msg === 'SSL_CERT_FILE cannot be used')).toBe(true);
  });
});
