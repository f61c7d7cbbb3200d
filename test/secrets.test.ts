import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDoors } from './support/doors.ts';
import { type GatewayProcess, startGatewayProcess } from './support/gateway.ts';
import { sign, signingKey, startIssuer, type TestIssuer } from './support/issuer.ts';
import { grpcFrame, httpPost, sendHttp2, sendRaw } from './support/raw-http.ts';
import { scriptedProvider } from './support/scripted-gateway.ts';
import { type Exchange, type ScriptedUpstream, saying, startScriptedUpstream } from './support/scripted-upstream.ts';

// Every kind of secret that the gateway is shown, on every door, at the log level that tells most: none may come out anywhere.

const digestOf = (key: string) => createHash('sha256').update(key).digest('hex');
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

/** Random enough to be found nowhere by accident, and marked with what it is. */
const secrets: Record<string, string> = {
  callerKey: 'gw_11111111_callers-OWN-key-7Qx2vLk9',
  environmentKey: 'keyFromTheEnvironment-9Zb4wNm3',
  expiredKey: 'gw_22222222_expired-key-4Hj8tRw5',
  adminKey: 'administrators-key-6Yc1pSd2',
  wrongKey: 'wrong-key-of-a-stranger-8Vf5gXa7',
  upstreamKey: 'upstream-key-of-the-gateway-3Km9eQz1',
  upstreamHeader: 'upstream-header-of-the-gateway-5Lt2rPw8',
};

describe('secrets', () => {
  let upstream: ScriptedUpstream;
  let issuer: TestIssuer;
  let gateway: GatewayProcess;
  let output = '';
  const answers: string[] = [];

  beforeAll(async () => {
    const key = await signingKey('k');
    const claims = { iss: 'https://idp.example', aud: 'gateway', sub: 'ann' };
    secrets.token = await sign(key, claims);
    secrets.expiredToken = await sign(key, { ...claims, exp: 1_700_000_000 });
    secrets.foreignToken = await sign(await signingKey('k'), claims);
    upstream = await startScriptedUpstream();
    issuer = await startIssuer(key);
    gateway = await startGatewayProcess(
      {
        server: { trusted_proxies: ['127.0.0.1'] },
        telemetry: { log_level: 'trace' },
        providers: [
          {
            ...scriptedProvider('scripted', upstream),
            api_key: secrets.upstreamKey,
            headers: { 'x-team': secrets.upstreamHeader },
          },
        ],
        keys: [
          { name: 'ann', sha256: digestOf(secrets.callerKey ?? '') },
          { name: 'old', sha256: digestOf(secrets.expiredKey ?? ''), expires: '2020-01-01' },
        ],
        jwt: [{ issuer: claims.iss, audience: claims.aud, jwks_url: issuer.jwksUrl }],
      },
      { GATEWAY_API_KEYS: `bob:default:${secrets.environmentKey}`, GATEWAY_ADMIN_KEY: secrets.adminKey ?? '' },
    );
    for (const stream of [gateway.process.stdout, gateway.process.stderr]) {
      stream?.on('data', (data) => {
        output += data;
      });
    }
    await showEverything();
  });
  afterAll(async () => {
    await gateway.close();
    await issuer.close();
    await upstream.close();
  });

  /** Ask whatever there is to ask, well and badly, with every secret that a caller may hold. */
  async function showEverything(): Promise<void> {
    const doors = openDoors(gateway.url);
    const keys = Object.entries(secrets).flatMap(([name, key]) => (name.startsWith('upstream') ? [] : [key]));
    const upstreams = [saying('hi'), refusing(401), refusing(403), refusing(429), refusing(500), breaking];
    for (const script of upstreams) {
      upstream.script(script);
      for (const { ask } of doors.all) {
        const headers = script === upstreams[0] ? keys.map(bearer) : [bearer(secrets.callerKey ?? '')];
        for (const given of headers) answers.push(textOf(await ask({ model: 'scripted-model', headers: given })));
      }
    }
    upstream.script(saying('hi'));
    await doors.close();

    let caller = 0;
    const paths =
      '/ /health /livez /providers /metrics /v1/models /v1/models/none /dashboard /admin/explain-route /nothing';
    for (const key of keys) {
      for (const given of [bearer(key), { 'x-api-key': key }, { 'api-key': key }, { authorization: `Basic ${key}` }]) {
        for (const path of [...paths.split(' '), `/providers?api_key=${key}`, `/v1/models?key=${key}#${key}`]) {
          const headers = { ...given, 'x-forwarded-for': `10.0.${++caller >> 8}.${caller & 255}` };
          const answer = await fetch(gateway.url + path, { headers });
          answers.push(`${[...answer.headers]} ${await answer.text()}`);
        }
        const services = ['AdminService/GetCircuitBreaker', 'ProviderService/ListProviders', 'CompletionService/None'];
        for (const service of services) {
          const headers = { ...given, 'content-type': 'application/grpc+json', te: 'trailers' };
          const path = { ':path': `/llmgateway.v1.${service}` };
          const answer = await sendHttp2(gateway.port, { ...path, ...headers }, grpcFrame('{"provider":"x"}'));
          answers.push(textOf({ ...answer, body: String(answer.body) }));
        }
      }
      const authorization = `Bearer ${key}`;
      const raw = [
        httpPost('/v1/chat/completions', '{"broken', { authorization }),
        httpPost('/completion', '{"messages": 5}', { authorization }),
        httpPost('/v1/chat/completions', 'x', { authorization, 'content-encoding': 'gzip' }),
        httpPost('/llmgateway.v1.CompletionService/CreateCompletion', '{"none":1}', { authorization }),
        httpPost(`http://${key}@localhost/v1/models`, '', { authorization }),
        `GET /v1/models HTTP/1.1\r\nAuthorization: ${authorization}\r\n bad folding\u0000\r\n\r\n`,
        `GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}${'x'.repeat(20_000)}\r\n\r\n`,
        `${authorization}\r\n\r\n`,
      ];
      for (const bytes of raw) answers.push(textOf(await sendRaw(gateway.port, bytes)));
    }
    gateway.process.kill('SIGTERM');
    await gateway.ended;
  }

  it('were shown, taken and refused, and the log told of it', () => {
    expect(upstream.requests.length).toBeGreaterThan(30);
    expect(answers.filter((answer) => answer.includes("text: 'hi'")).length).toBeGreaterThan(10);
    expect(answers.filter((answer) => answer.includes('a valid API key is needed')).length).toBeGreaterThan(30);
    const callers = gateway.lines.filter(({ msg }) => msg === 'call').map(({ key }) => key);
    expect(new Set(callers)).toEqual(new Set(['ann', 'bob', 'admin']));
    expect(gateway.lines.filter(({ msg }) => msg === 'refused').length).toBeGreaterThan(50);
    expect(gateway.lines.filter(({ msg }) => msg === 'a token is not valid').length).toBeGreaterThan(0);
  });

  it('appear in no line of the log', () => {
    const lines = output + JSON.stringify(gateway.lines);
    for (const [name, secret] of Object.entries(secrets)) {
      for (const trace of tracesOf(secret)) expect([name, lines.includes(trace)]).toEqual([name, false]);
    }
  });

  it('appear in no answer: no header, no page, no error, no metric', () => {
    for (const [name, secret] of Object.entries(secrets)) {
      for (const trace of tracesOf(secret)) {
        expect([name, answers.find((answer) => answer.includes(trace))]).toEqual([name, undefined]);
      }
    }
  });
});

/** The forms in which a secret might come out: as it is, its end, its digest, in base64. */
function tracesOf(secret: string): string[] {
  const digest = createHash('sha256').update(secret).digest();
  const inBase64 = Buffer.from(secret).toString('base64').replace(/=+$/, '').slice(0, -2);
  return [secret, secret.slice(-12), digest.toString('hex'), digest.toString('base64'), inBase64];
}

function textOf(answer: object): string {
  return inspect(answer, {
    depth: Infinity,
    maxArrayLength: Infinity,
    maxStringLength: Infinity,
    breakLength: Infinity,
  });
}

/** A provider that refuses, and quotes what it was shown. */
function refusing(status: number): (exchange: Exchange) => void {
  return (exchange) => {
    const { authorization } = exchange.request.headers;
    exchange.json({ error: { message: `Incorrect API key provided: ${authorization}`, code: 'x' } }, status);
  };
}

async function breaking(exchange: Exchange): Promise<void> {
  await exchange.event({ choices: [{ index: 0, delta: { content: 'h' } }] });
  await exchange.reset();
}
