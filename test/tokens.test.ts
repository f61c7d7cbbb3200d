import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Doors, openDoors } from './support/doors.ts';
import { startGateway } from './support/gateway.ts';
import { type SigningKey, sign, signingKey, startIssuer, type TestIssuer } from './support/issuer.ts';
import { startProxy } from './support/proxy.ts';
import { scriptedProvider } from './support/scripted-gateway.ts';
import { type ScriptedUpstream, saying, startScriptedUpstream } from './support/scripted-upstream.ts';

const claims = { iss: 'https://idp.example', aud: 'gateway', sub: 'ann', allowed: ['fast'], role: ['ops'] };
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

let key: SigningKey;
let upstream: ScriptedUpstream;

beforeAll(async () => {
  key = await signingKey('a');
  upstream = await startScriptedUpstream();
  upstream.script(saying('hi'));
});
afterAll(() => upstream.close());

/** A gateway that takes the tokens of one issuer, and the key of bob. */
function startWith(issuer: object, environment: Record<string, string> = {}) {
  return startGateway(
    {
      providers: [scriptedProvider('scripted', upstream)],
      routes: [{ model: 'fast', targets: [{ provider: 'scripted', model: 'scripted-model' }] }],
      keys: [{ name: 'bob', sha256: createHash('sha256').update('key.of.bob').digest('hex') }],
      jwt: [{ issuer: claims.iss, audience: claims.aud, ...issuer }],
    },
    environment,
  );
}

describe('a token of an issuer', () => {
  let issuer: TestIssuer;
  let gateway: Awaited<ReturnType<typeof startWith>>;
  let doors: Doors;

  beforeAll(async () => {
    issuer = await startIssuer(key);
    gateway = await startWith({ jwks_url: issuer.jwksUrl, models_claim: 'allowed', name_prefix: 'idp:' });
    doors = openDoors(gateway.url);
  });
  afterAll(async () => {
    await doors.close();
    await gateway.close();
    await issuer.close();
  });

  it('opens every door, to what it allows, in the name it gives', async () => {
    const headers = bearer(await sign(key, claims));
    for (const { name, ask } of doors.all) {
      const { failure } = await ask({ model: 'fast', headers });
      const other = await ask({ model: 'scripted/scripted-model', headers });
      expect([name, failure]).toEqual([name, undefined]);
      expect([name, other.failure?.status ?? other.failure?.code]).toEqual([
        name,
        other.failure?.status ? 403 : 'permission_denied',
      ]);
    }
    expect(new Set(gateway.lines.filter(({ msg }) => msg === 'call').map((line) => line.key))).toEqual(
      new Set(['idp:ann']),
    );
    expect(issuer.fetches).toBe(1);
  });

  it('that is wrong is refused like a wrong key, and like it too often from one address', async () => {
    const stranger = await signingKey('a');
    const headers = bearer(await sign(stranger, claims));
    const asked = async () => {
      const answer = await fetch(`${gateway.url}/v1/models`, { headers });
      return { status: answer.status, ...(await answer.json()).error };
    };
    const first = await asked();
    const wrongKey = await fetch(`${gateway.url}/v1/models`, { headers: bearer('wrong') });
    expect(first).toMatchObject({ status: 401, message: (await wrongKey.json()).error.message });
    const statuses = await Promise.all(Array.from({ length: 30 }, async () => (await asked()).status));
    expect(new Set(statuses)).toEqual(new Set([401, 429]));
    const right = bearer(await sign(key, { ...claims, sub: 'eve' }));
    expect((await fetch(`${gateway.url}/v1/models`, { headers: right })).status).toBe(200);
  });

  it('that allows nothing is 403 on every door', async () => {
    const headers = bearer(await sign(key, { ...claims, allowed: [] }));
    for (const { name, ask } of doors.all) {
      const { failure } = await ask({ model: 'fast', headers });
      expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? 403 : 'permission_denied']);
    }
  });

  it('stands beside keys, which may look like one', async () => {
    expect((await fetch(`${gateway.url}/v1/models`, { headers: bearer('key.of.bob') })).status).toBe(200);
  });

  it('closes the gateway to everybody else', () => {
    expect(gateway.app.openMode).toBe(false);
  });
});

describe('an issuer whose keys cannot be fetched', () => {
  it.each([500, 302, 'garbage'] as const)('(%s) makes tokens wait, and nobody else', async (trouble) => {
    const issuer = await startIssuer(key);
    issuer.trouble = trouble;
    const gateway = await startWith({ jwks_url: issuer.jwksUrl });
    const doors = openDoors(gateway.url);
    const headers = bearer(await sign(key, claims));
    for (const { name, ask } of doors.all) {
      const { failure } = await ask({ model: 'fast', headers });
      expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? 503 : 'unavailable']);
      expect([name, (await ask({ model: 'fast', headers: bearer('key.of.bob') })).failure]).toEqual([name, undefined]);
    }
    const answer = await fetch(`${gateway.url}/v1/models`, { headers });
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await answer.json()).error.code).toBe('overloaded');
    expect(issuer.fetches).toBe(1);
    expect(gateway.lines.filter(({ level }) => level === 40)).toHaveLength(1);
    await doors.close();
    await gateway.close();
    await issuer.close();
  });

  it('does not matter to who presents no token of it', async () => {
    const issuer = await startIssuer(key);
    issuer.trouble = 'silence';
    const gateway = await startWith({ jwks_url: issuer.jwksUrl });
    const stranger = bearer(await sign(key, { ...claims, iss: 'https://other.example' }));
    expect((await fetch(`${gateway.url}/v1/models`, { headers: stranger })).status).toBe(401);
    expect(issuer.fetches).toBe(0);
    await gateway.close();
    await issuer.close();
  });
});

describe('the keys of an issuer', () => {
  it('may come from a file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-jwks-'));
    const file = join(folder, 'keys.json');
    writeFileSync(file, JSON.stringify({ keys: [key.publicJwk] }));
    const gateway = await startWith({ jwks_file: file });
    const headers = bearer(await sign(key, claims));
    expect((await fetch(`${gateway.url}/v1/models`, { headers })).status).toBe(200);
    await gateway.close();
    rmSync(folder, { recursive: true });
  });

  it('are fetched through the proxy that the environment names', async () => {
    const issuer = await startIssuer(key);
    await using proxy = await startProxy();
    const url = issuer.jwksUrl.replace('127.0.0.1', 'idp.example');
    const gateway = await startWith({ jwks_url: url }, { HTTP_PROXY: `http://127.0.0.1:${proxy.port}` });
    const headers = bearer(await sign(key, claims));
    expect((await fetch(`${gateway.url}/v1/models`, { headers })).status).toBe(200);
    expect(proxy.asked.map(({ what }) => what)).toEqual([`GET ${url}`]);
    await gateway.close();
    await issuer.close();
  });
});
