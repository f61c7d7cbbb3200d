import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { grpcFrame, sendHttp2, sendRaw } from '../support/raw-http.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { type ScriptedUpstream, startScriptedUpstream } from '../support/scripted-upstream.ts';

// Ways to write a path, a host or a header that have opened guarded routes elsewhere: a router and a guard that read a path differently,
// a header that is taken for the path, a host that is taken for trust.

type Trick = readonly [what: string, path: (path: string) => string];

const encoded = (text: string) => text.replaceAll(/[a-z]/g, (letter) => `%${letter.charCodeAt(0).toString(16)}`);
const afterFirst = (path: string, put: string) => path.replace(/^(\/[^/]+)\//, `$1${put}`);

const pathTricks: readonly Trick[] = [
  ['as it is', (path) => path],
  ['a slash at its end', (path) => `${path}/`],
  ['two slashes at its end', (path) => `${path}//`],
  ['two slashes before it', (path) => `/${path}`],
  ['three slashes before it', (path) => `//${path}`],
  ['two slashes within', (path) => afterFirst(path, '//')],
  ['a dot before it', (path) => `/.${path}`],
  ['dots before it', (path) => `/..${path}`],
  ['a dot within', (path) => afterFirst(path, '/./')],
  ['a dot at its end', (path) => `${path}/.`],
  ['a dot behind its end', (path) => `${path}.`],
  ['dots and back at its end', (path) => `${path}/../${path.split('/').at(-1)}`],
  ['dots from an open path', (path) => `/health/..${path}`],
  ['dots from an open path, one slash more', (path) => `/health//..${path}`],
  ['encoded dots from an open path', (path) => `/health/%2e%2e${path}`],
  ['half encoded dots from an open path', (path) => `/health/.%2E${path}`],
  ['an encoded slash from an open path', (path) => `/health%2f..${path}`],
  ['an encoded slash behind the dots', (path) => `/health/..%2f${path.slice(1)}`],
  ['dots with a semicolon', (path) => `/health/..;${path}`],
  ['an open path with a semicolon', (path) => `/health;${path}`],
  ['an open path with a question mark encoded', (path) => `/health%3f${path}`],
  ['a semicolon at its end', (path) => `${path};`],
  ['a parameter at its end', (path) => `${path};jsessionid=1`],
  ['a semicolon within', (path) => afterFirst(path, ';a=b/')],
  ['dots and a semicolon at its end', (path) => `${path}..;/`],
  ['a zero byte at its end', (path) => `${path}%00`],
  ['a zero byte and a suffix', (path) => `${path}%00.html`],
  ['a zero byte before it', (path) => `/%00${path}`],
  ['a space at its end', (path) => `${path}%20`],
  ['a tabulator at its end', (path) => `${path}%09`],
  ['a line break and a header', (path) => `${path}%0d%0aX-Api-Key:%20root`],
  ['a suffix of a page', (path) => `${path}.json`],
  ['a suffix of a style sheet', (path) => `${path}/a.css`],
  ['an open path behind it', (path) => `${path}/livez`],
  ['capital letters', (path) => path.toUpperCase()],
  ['one capital letter', (path) => path.replace(/^\/./, (start) => start.toUpperCase())],
  ['an encoded letter', (path) => path.replace(/^\/(.)/, (_, letter) => `/${encoded(letter)}`)],
  ['all letters encoded', (path) => encoded(path)],
  ['a letter encoded twice', (path) => path.replace(/^\/(.)/, (_, letter) => `/%25${encoded(letter).slice(1)}`)],
  ['an encoded slash within', (path) => afterFirst(path, '%2F')],
  ['a slash encoded twice', (path) => afterFirst(path, '%252f')],
  ['an overlong slash', (path) => afterFirst(path, '%c0%af')],
  ['a wide letter', (path) => path.replace(/^\/a/, '/%ef%bd%81')],
  ['a broken escape', (path) => `${path}%2`],
  ['a backslash before it', (path) => `\\${path}`],
  ['backslashes', (path) => path.replaceAll('/', '\\')],
  ['an encoded backslash', (path) => `/health%5c..%5c${path.slice(1)}`],
  ['a question mark at its end', (path) => `${path}?`],
  ['an open path as its query', (path) => `${path}?/health`],
  ['a number sign at its end', (path) => `${path}#`],
  ['an open path as its fragment', (path) => `${path}#/health`],
  ['the key of nobody as its query', (path) => `${path}?api_key=undefined&key=null&access_token=root`],
  ['dots below the models', (path) => `/v1/models/../..${path}`],
  ['encoded dots below the models', (path) => `/v1/models/%2e%2e/%2e%2e${path}`],
  ['an encoded slash below the models', (path) => `/v1/models/..%2f..%2f${path.slice(1)}`],
  ['a whole URL', (path) => `http://localhost${path}`],
  ['a whole URL with a port', (path) => `http://127.0.0.1:8080${path}`],
  ['a whole URL with a user', (path) => `HTTP://admin:admin@localhost${path}`],
  ['a whole URL of https', (path) => `https://health${path}`],
  ['a whole URL without a host', (path) => `http://${path}`],
  ['a whole URL of another kind', (path) => `file://${path}`],
  ['a host without a scheme', (path) => `//localhost${path}`],
  ['no slash before it', (path) => path.slice(1)],
];

type Headers = Readonly<Record<string, string>>;

const headerTricks: readonly Headers[] = [
  ...['/health', '/livez', 'http://localhost/health'].flatMap((target) => [
    { 'x-original-url': target },
    { 'x-rewrite-url': target },
    { 'x-forwarded-uri': target },
  ]),
  {
    'x-original-uri': '/health',
    'x-forwarded-path': '/health',
    'x-forwarded-prefix': '/health',
    'x-envoy-original-path': '/health',
  },
  ...['127.0.0.1', '::1', 'localhost', '10.0.0.1, 127.0.0.1'].map((address) => ({ 'x-forwarded-for': address })),
  {
    'x-real-ip': '127.0.0.1',
    'x-client-ip': '127.0.0.1',
    'true-client-ip': '127.0.0.1',
    'cf-connecting-ip': '127.0.0.1',
  },
  {
    forwarded: 'for=127.0.0.1;host=localhost;proto=https',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'localhost',
  },
  {
    'x-forwarded-user': 'admin',
    'x-remote-user': 'admin',
    'x-auth-request-user': 'admin',
    'x-user': 'admin',
    'x-admin': 'true',
  },
  ...['OPTIONS', 'HEAD', 'GET'].flatMap((method) => [
    { 'x-http-method-override': method, 'x-http-method': method, 'x-method-override': method },
  ]),
  {
    origin: 'http://localhost',
    'access-control-request-method': 'GET',
    'access-control-request-headers': 'authorization',
  },
  { authorization: '' },
  { authorization: 'Bearer' },
  { authorization: 'Bearer undefined' },
  { authorization: 'Bearer null' },
  { authorization: 'Basic YWRtaW46YWRtaW4=' },
  { authorization: 'Bearer admin' },
  { authorization: 'Bearer *' },
  { authorization: 'Bearer [object Object]' },
  { authorization: 'Bearer __proto__' },
  { authorization: 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsImFkbWluIjp0cnVlfQ.' },
  { 'x-api-key': 'constructor', 'api-key': 'constructor' },
  { cookie: 'key=administrators-key; authorization=Bearer administrators-key' },
  { 'proxy-authorization': 'Bearer administrators-key' },
  { 'x-authorization': 'Bearer administrators-key', 'x-admin-key': 'administrators-key' },
  { 'x-goog-api-key': 'administrators-key', 'openai-organization': 'administrators-key' },
  { 'grpc-metadata-authorization': 'Bearer administrators-key' },
  { expect: '100-continue' },
  { 'content-type': 'application/grpc' },
  { 'content-type': 'application/grpc-web+json' },
  { accept: 'text/html', 'sec-fetch-site': 'same-origin', referer: 'http://localhost/dashboard' },
];

/** Only HTTP/1 has these. */
const connectionTricks: readonly Headers[] = [
  { host: 'localhost' },
  { host: '127.0.0.1:8080' },
  { host: 'admin' },
  { host: '' },
  { host: 'localhost/health' },
  { host: 'localhost@evil.example' },
  { connection: 'close, authorization, x-api-key' },
  { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'x' },
  { connection: 'upgrade, http2-settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' },
];

/** Only HTTP/2 has these. */
const authorityTricks: readonly Headers[] = [
  { ':authority': 'localhost' },
  { ':authority': '127.0.0.1' },
  { ':authority': 'admin@localhost' },
  { ':authority': '' },
  { ':authority': 'a', host: 'localhost' },
  { ':scheme': 'https' },
  { ':scheme': 'file' },
  { ':scheme': 'admin' },
];

const breakerPath = '/admin/providers/scripted/circuit-breaker';
const rpcPath = '/llmgateway.v1.AdminService/GetCircuitBreaker';

/** What is guarded: method, path, and whether only administrators may. */
const guarded = [
  ['GET', breakerPath, true],
  ['POST', '/admin/explain-route', true],
  ['POST', '/admin/reload', true],
  ['GET', '/providers', false],
  ['POST', rpcPath, true],
] as const;

const team = { authorization: 'Bearer key-of-a-team' };
const admin = { authorization: 'Bearer administrators-key' };
const bodyOf = (path: string) =>
  path.includes('explain') ? '{"messages":[{"role":"user","content":"hi"}]}' : '{"provider":"scripted"}';

describe('guarded routes', () => {
  let upstream: ScriptedUpstream;
  let gateway: TestGateway;
  let callers = 0;

  beforeAll(async () => {
    upstream = await startScriptedUpstream();
    gateway = await startGateway(
      {
        server: { trusted_proxies: ['127.0.0.1'] },
        providers: [scriptedProvider('scripted', upstream)],
        keys: [{ name: 'team', sha256: createHash('sha256').update('key-of-a-team').digest('hex') }],
      },
      { GATEWAY_ADMIN_KEY: 'administrators-key' },
    );
  });
  afterAll(async () => {
    await gateway.close();
    await upstream.close();
  });

  /** Of an address of its own, since failed tries are limited for each. */
  const elsewhere = (): Headers => {
    callers++;
    return { 'x-forwarded-for': `10.1.${callers >> 8}.${callers & 255}` };
  };

  async function overHttp1(method: string, target: string, headers: Headers): Promise<Told> {
    const body = method === 'POST' ? bodyOf(target) : '';
    const all = {
      host: 'x',
      connection: 'close',
      ...elsewhere(),
      'content-type': 'application/json',
      'content-length': `${body.length}`,
      ...headers,
    };
    const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    const answer = await sendRaw(gateway.port, `${method} ${target} HTTP/1.1\r\n${head.join('')}\r\n${body}`);
    // Behind an interim answer comes the answer.
    const status = answer.status === 100 ? Number(/^HTTP\/1\.1 (\d+)/.exec(answer.body)?.[1]) : answer.status;
    return told(status, answer.headers, answer.body);
  }

  async function overHttp2(method: string, target: string, headers: Headers): Promise<Told> {
    const isRpc = target.includes('llmgateway');
    const content = method === 'POST' ? bodyOf(target) : '';
    const type = isRpc
      ? { 'content-type': 'application/grpc+json', te: 'trailers' }
      : { 'content-type': 'application/json' };
    const all = { ':method': method, ':path': target, ...elsewhere(), ...type, ...headers };
    const answer = await sendHttp2(gateway.port, all, isRpc ? grpcFrame(content) : Buffer.from(content));
    return told(answer.status, { ...answer.headers, ...answer.trailers }, answer.body.toString('latin1'));
  }

  const protocols = [
    ['HTTP/1', overHttp1],
    ['HTTP/2', overHttp2],
  ] as const;

  describe.each(protocols)('over %s', (protocol, send) => {
    it('answer those who may, so that what follows can fail', async () => {
      for (const [method, path] of guarded) expect((await send(method, path, admin)).outcome).toBe('answered');
      expect((await send('GET', '/providers', team)).outcome).toBe('answered');
    });

    it.each(guarded)('%s %s tells those apart who may not', async (method, path, isAdmin) => {
      expect((await send(method, path, {})).outcome).toBe('unauthenticated');
      expect((await send(method, path, team)).outcome).toBe(isAdmin ? 'forbidden' : 'answered');
    });

    it.each(pathTricks)('stay shut for a path with %s', async (_, trick) => {
      for (const [method, path, isAdmin] of guarded) {
        const target = trick(path);
        const without = await send(method, target, {});
        expect([method, target, without]).toEqual([method, target, expect.objectContaining({ shut: true })]);
        const withKey = isAdmin ? await send(method, target, team) : { shut: true };
        expect([method, target, withKey]).toEqual([method, target, expect.objectContaining({ shut: true })]);
      }
    });

    const ownTricks = protocol === 'HTTP/1' ? connectionTricks : authorityTricks;
    it.each([...headerTricks, ...ownTricks])('stay shut for %j', async (headers) => {
      for (const [method, path, isAdmin] of guarded) {
        const without = await send(method, path, headers);
        expect([method, path, without]).toEqual([method, path, expect.objectContaining({ shut: true })]);
        const withKey = isAdmin ? await send(method, path, { ...headers, ...team }) : { shut: true };
        expect([method, path, withKey]).toEqual([method, path, expect.objectContaining({ shut: true })]);
      }
    });

    it.each(['HEAD', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'OPTIONS', 'PROPFIND', 'QUERY'])(
      'stay shut for %s',
      async (method) => {
        for (const [, path] of guarded) {
          const without = await send(method, path, {});
          // What an rpc's methods are is no secret: it has no answer to give.
          const isOptions = method === 'OPTIONS' && path === rpcPath;
          expect([method, path, without]).toEqual([method, path, expect.objectContaining({ shut: !isOptions })]);
        }
      },
    );
  });

  it('stay shut for a request within the body of another', async () => {
    const inner = `GET ${breakerPath} HTTP/1.1\r\nHost: x\r\n\r\n`;
    for (const outer of [
      `POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
      `POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
      `GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
      `GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n${inner}`,
    ]) {
      const { status, body } = await sendRaw(gateway.port, outer);
      expect([status, body.includes('recovery_timeout')]).toEqual([expect.any(Number), false]);
    }
  });

  it('have asked nothing of a provider but its models', () => {
    expect(upstream.requests).toEqual([]);
  });
});

/** What came of a request. */
interface Told {
  readonly outcome: 'answered' | 'unauthenticated' | 'forbidden' | 'no such thing' | 'malformed' | 'closed' | string;
  /** Whether nothing was given out. */
  readonly shut: boolean;
  readonly body: string;
}

const outcomes: Readonly<Record<number, string>> = {
  0: 'closed',
  200: 'answered',
  204: 'answered',
  400: 'malformed',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'no such thing',
  405: 'no such thing',
  415: 'malformed',
  421: 'malformed',
};
const grpcOutcomes: Readonly<Record<string, string>> = {
  0: 'answered',
  7: 'forbidden',
  12: 'no such thing',
  16: 'unauthenticated',
};

function told(status: number, headers: Headers, body: string): Told {
  // In gRPC-Web trailers stand in the body.
  const grpc = headers['grpc-status'] ?? /^grpc-status: ?(\d+)/m.exec(body)?.[1];
  const outcome = (grpc === undefined ? outcomes[status] : grpcOutcomes[grpc]) ?? `status ${status}, gRPC ${grpc}`;
  const isKnown = /^(?:unauthenticated|forbidden|no such thing|malformed|closed)$/.test(outcome);
  return {
    outcome,
    shut: isKnown && !/recovery_?timeout|applied_?count|"targets"|circuit_breaker_state/i.test(body),
    body,
  };
}
