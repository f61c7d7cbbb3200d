import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CompletionService } from '../../gen/llmgateway/v1/completion_service_pb.ts';
import { finished, started } from '../../src/completion.ts';
import type { Gateway } from '../../src/gateway.ts';
import { addressReader } from '../../src/transport/client-address.ts';
import { createRestHandler } from '../../src/transport/rest/rest.ts';
import type { RequestHandler, Server } from '../../src/transport/server.ts';
import { sendHttp2 } from '../support/raw-http.ts';
import { anybody, clientOf, protocols, scriptedGateway, serveGateway, silent } from './scripted-gateway.ts';

function requestFrom(peer: string | undefined, headers: Record<string, string>): IncomingMessage {
  return { socket: { remoteAddress: peer }, headers } as unknown as IncomingMessage;
}

const forwarded = (value: string) => ({ 'x-forwarded-for': value });

describe('the address of a caller', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8::1', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
    [undefined, ''],
  ])('is its peer’s where no proxy is trusted, whatever it says: %s', (peer, address) => {
    const addressOf = addressReader([]);
    const headers = { ...forwarded('203.0.113.9'), forwarded: 'for=203.0.113.9', 'x-real-ip': '203.0.113.9' };
    expect(addressOf(requestFrom(peer, headers))).toBe(address);
  });

  const addressOf = addressReader(['10.0.0.0/8', '192.0.2.7', '2001:db8:1::/48']);

  it.each([
    ['a peer that is not trusted', '203.0.113.1', '203.0.113.9', '203.0.113.1'],
    ['a trusted peer', '10.1.2.3', '203.0.113.9', '203.0.113.9'],
    ['a trusted peer, seen on a listener for both', '::ffff:10.1.2.3', '203.0.113.9', '203.0.113.9'],
    ['a trusted peer of IPv6', '2001:db8:1::5', '2001:db8:2::9', '2001:db8:2::9'],
    ['a neighbour of a trusted peer', '192.0.2.8', '203.0.113.9', '192.0.2.8'],
    ['a chain of trusted proxies', '10.1.2.3', '203.0.113.9, 192.0.2.7,10.9.9.9', '203.0.113.9'],
    ['a caller that claims to be another', '10.1.2.3', '198.51.100.1, 203.0.113.9', '203.0.113.9'],
    ['a caller that claims to be a proxy', '10.1.2.3', '198.51.100.1, 10.0.0.1, 203.0.113.9, 10.0.0.2', '203.0.113.9'],
    ['a caller inside the trusted network', '10.1.2.3', '10.5.5.5', '10.5.5.5'],
    ['an entry with a port', '10.1.2.3', '203.0.113.9:4711', '203.0.113.9'],
    ['an entry of IPv6 with a port', '10.1.2.3', '[2001:db8:2::9]:4711', '2001:db8:2::9'],
    ['an entry of IPv6 in another form', '10.1.2.3', '2001:DB8:2:0:0::9', '2001:db8:2::9'],
    ['an entry of IPv4 written as IPv6', '10.1.2.3', '::ffff:cb00:7109', '203.0.113.9'],
    ['a trusted proxy written as IPv6', '10.1.2.3', '203.0.113.9, ::ffff:10.0.0.1', '203.0.113.9'],
    ['an entry that is no address', '10.1.2.3', '203.0.113.9, unknown', '10.1.2.3'],
    ['an address with more behind it', '10.1.2.3', '203.0.113.9x', '10.1.2.3'],
    ['an empty header', '10.1.2.3', '', '10.1.2.3'],
  ])('of %s', (_, peer, header, address) => {
    expect(addressOf(requestFrom(peer, forwarded(header)))).toBe(address);
  });

  it('comes from X-Forwarded-For alone, whoever the peer is', () => {
    const headers = { forwarded: 'for=203.0.113.9', 'x-real-ip': '203.0.113.9', 'x-client-ip': '203.0.113.9' };
    expect(addressOf(requestFrom('10.1.2.3', headers))).toBe('10.1.2.3');
  });
});

describe('the address of a call', () => {
  let seen: string[];
  let server: Server;
  let port: number;
  let base: string;
  const gateway: Gateway = scriptedGateway({
    async *complete(_request, { address }) {
      seen.push(address);
      yield started('m');
      yield finished(undefined);
    },
  });

  beforeAll(async () => {
    const addressOf = addressReader(['127.0.0.1']);
    const authenticate = () => anybody;
    const arrive = () => () => {};
    const doors = { gateway, authenticate, arrive, addressOf, log: silent, bodyLimitBytes: 1000, writeStallMs: 1000 };
    const rest = createRestHandler({
      ...doors,
      draining: () => false,
      reload: async () => Promise.reject(),
    }) as RequestHandler;
    ({ server, port, base } = await serveGateway(gateway, { addressOf, rest }));
  });
  afterAll(() => server.close());

  it.each(protocols)('travels with it over %s', async (_, transportTo) => {
    seen = [];
    const headers = forwarded('198.51.100.1, 203.0.113.9');
    await clientOf(CompletionService, transportTo(base)).createCompletion({ request: {} }, { headers });
    expect(seen).toEqual(['203.0.113.9']);
  });

  const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }] });

  it.each(['/completion', '/v1/chat/completions'])('travels with it from %s', async (path) => {
    seen = [];
    const headers = { 'content-type': 'application/json', 'x-forwarded-for': '203.0.113.9' };
    expect((await fetch(base + path, { method: 'POST', headers, body })).status).toBe(200);
    await sendHttp2(port, { ':path': path, ...headers }, Buffer.from(body));
    expect(seen).toEqual(['203.0.113.9', '203.0.113.9']);
  });
});
