import { createHash, createHmac } from 'node:crypto';
import type { JWTPayload } from 'jose';
import pino from 'pino';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { KeySet } from '../../src/admission/key-set.ts';
import { createTokens, type Issuer, looksLikeToken, type Tokens } from '../../src/admission/tokens.ts';
import { type SigningKey, sign, signingKey } from '../support/issuer.ts';

const log = pino({ level: 'silent' });
const base64url = (value: string | object) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const digestOf = (token: string) => createHash('sha256').update(token).digest('hex');
const claims = { iss: 'https://idp.example', aud: 'gateway', sub: 'ann' };
const inAnHour = () => Math.floor(Date.now() / 1000) + 3600;

let key: SigningKey;
let other: SigningKey;
let rsa: SigningKey;
let published: SigningKey['publicJwk'][];
let tokens: Tokens;
let loads: number;
let nowMs: number;

function issuerOf(more: Partial<Issuer> = {}): Issuer {
  const load = async () => {
    loads++;
    return { keys: published };
  };
  return {
    issuer: claims.iss,
    audience: claims.aud,
    keySet: new KeySet(claims.iss, load, log, () => nowMs),
    algorithms: ['ES256', 'RS256', 'EdDSA'],
    clockToleranceMs: 5000,
    claims: { name: 'sub', namePrefix: '', tier: '', models: '', admin: '', adminValue: 'true' },
    ...more,
  };
}

const check = (token: string, by = tokens) => by.check(token, digestOf(token));

beforeAll(async () => {
  [key, other, rsa] = await Promise.all([signingKey('a'), signingKey('b'), signingKey('r', 'RS256')]);
});

function begin(): void {
  published = [key.publicJwk, rsa.publicJwk];
  loads = 0;
  nowMs = 0;
  tokens = createTokens([issuerOf()], new Set(['default']), log);
}

describe('a token', () => {
  it.each(['ES256', 'RS256', 'EdDSA'])('signed by %s with a published key tells who calls', async (alg) => {
    begin();
    const signer = await signingKey('new', alg);
    published.push(signer.publicJwk);
    expect(await check(await sign(signer, claims))).toEqual({
      name: 'ann',
      tier: 'default',
      models: [],
      admin: false,
    });
  });

  it('may be for others, too', async () => {
    begin();
    expect(await check(await sign(key, { ...claims, aud: ['other', 'gateway'] }))).toMatchObject({ name: 'ann' });
  });

  it('need not name its key, even where several would do', async () => {
    begin();
    published.push(other.publicJwk);
    expect(await check(await sign(other, claims, { kid: undefined as never }))).toMatchObject({ name: 'ann' });
    const stranger = await signingKey('b');
    expect(await check(await sign(stranger, claims, { kid: undefined as never }))).toBeUndefined();
  });

  const wrongClaims: [string, () => JWTPayload][] = [
    ['of another issuer', () => ({ ...claims, iss: 'https://evil.example' })],
    ['of an issuer with a slash more', () => ({ ...claims, iss: `${claims.iss}/` })],
    ['for another audience', () => ({ ...claims, aud: 'other' })],
    ['for no audience', () => ({ iss: claims.iss, sub: 'ann' })],
    ['that has ended', () => ({ ...claims, exp: Math.floor(Date.now() / 1000) - 6 })],
    ['that never ends', () => ({ ...claims, exp: undefined as never })],
    ['that ends at a text', () => ({ ...claims, exp: '9999999999' as never })],
    ['that has not begun', () => ({ ...claims, nbf: Math.floor(Date.now() / 1000) + 60 })],
    ['without a name', () => ({ iss: claims.iss, aud: claims.aud })],
  ];
  it.each(wrongClaims)('%s is not valid', async (_, wrong) => {
    begin();
    expect(await check(await sign(key, wrong()))).toBeUndefined();
  });

  it('that ended within the tolerance for clocks is valid', async () => {
    begin();
    const justOver = { ...claims, exp: Math.floor(Date.now() / 1000) - 2 };
    expect(await check(await sign(key, justOver))).toMatchObject({ name: 'ann' });
  });

  it.each([
    ['none', ''],
    ['None', 'AA'],
    ['', 'AA'],
  ])('that is not signed (alg "%s") is not valid', async (alg, signature) => {
    begin();
    const token = `${base64url({ alg, kid: 'a' })}.${base64url({ ...claims, exp: inAnHour() })}.${signature}`;
    expect(await check(token)).toBeUndefined();
  });

  it('signed by HMAC with the public key as its secret is not valid, whatever the key set and the settings say', async () => {
    const secrets = (jwk: object) => [JSON.stringify(jwk), (jwk as { n?: string }).n ?? '', ''];
    const content = `${base64url({ alg: 'HS256', kid: 'r' })}.${base64url({ ...claims, exp: inAnHour() })}`;
    for (const secret of secrets(rsa.publicJwk)) {
      begin();
      published.push({ kty: 'oct', k: base64url(secret), kid: 'r', alg: 'HS256' });
      const lax = createTokens([issuerOf({ algorithms: ['HS256', 'RS256'] })], new Set(), log);
      const token = `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`;
      expect([await check(token), await check(token, lax)]).toEqual([undefined, undefined]);
    }
  });

  it('signed by an algorithm that is not taken is not valid', async () => {
    begin();
    const strict = createTokens([issuerOf({ algorithms: ['RS256'] })], new Set(), log);
    expect(await check(await sign(key, claims), strict)).toBeUndefined();
  });

  it('that brings its own key is not valid', async () => {
    begin();
    const jwk = other.publicJwk;
    expect(await check(await sign(other, claims, { jwk, kid: 'a' }))).toBeUndefined();
    expect(await check(await sign(other, claims, { jku: 'http://127.0.0.1:1/', kid: 'b' }))).toBeUndefined();
  });

  it('of which one character is another is not valid', async () => {
    begin();
    const token = await sign(key, claims);
    const [head = '', body = '', signature = ''] = token.split('.');
    const bent = `${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    const grander = base64url({ ...claims, sub: 'root', exp: inAnHour() });
    for (const forged of [`${head}.${body}.${bent}`, `${head}.${grander}.${signature}`, `${head}.${body}.AA`]) {
      expect(await check(forged)).toBeUndefined();
    }
  });

  it.each([
    'a.b.c',
    'e30.e30.e30',
    `${base64url('{')}.${base64url('{')}.AA`,
    `${base64url('[]')}.${base64url('[]')}.AA`,
  ])('that is none inside (%s) is not valid, and no key is fetched for it', async (text) => {
    begin();
    expect(await check(text)).toBeUndefined();
    expect(loads).toBe(0);
  });

  it('is signed with a key that was published since: the set is fetched again, once in half a minute', async () => {
    begin();
    await check(await sign(key, claims));
    published = [other.publicJwk];
    expect(await check(await sign(other, claims))).toBeUndefined();
    nowMs = 30_000;
    expect(await check(await sign(other, claims))).toMatchObject({ name: 'ann' });
    for (let at = 0; at < 20; at++) expect(await check(await sign(key, claims, { kid: `${at}` }))).toBeUndefined();
    expect(loads).toBe(2);
  });

  it('is remembered by its digest until it ends, and for ten minutes at most', async () => {
    begin();
    vi.useFakeTimers({ now: 1_800_000_000_000, toFake: ['Date'] });
    const long = await sign(key, claims);
    const short = await sign(key, { ...claims, exp: 1_800_000_060 });
    for (const token of [long, short]) await check(token);
    expect(tokens.recall(digestOf(`${long}x`))).toBeUndefined();
    expect(tokens.recall(digestOf(short))).toMatchObject({ name: 'ann' });
    vi.setSystemTime(1_800_000_065_000);
    expect(tokens.recall(digestOf(short))).toBeUndefined();
    vi.setSystemTime(1_800_000_599_999);
    expect(tokens.recall(digestOf(long))).toMatchObject({ name: 'ann' });
    vi.setSystemTime(1_800_000_600_000);
    expect(tokens.recall(digestOf(long))).toBeUndefined();
    vi.useRealTimers();
  });

  it('that is not valid is not remembered', async () => {
    begin();
    const token = await sign(other, claims, { kid: 'a' });
    await check(token);
    expect(tokens.recall(digestOf(token))).toBeUndefined();
  });

  it('of one issuer is nothing with the keys of another', async () => {
    begin();
    const second = { ...issuerOf({ issuer: 'https://second.example' }) };
    const both = createTokens([issuerOf(), { ...second, keySet: setOf(other) }], new Set(), log);
    expect(await check(await sign(other, { ...claims, iss: second.issuer }), both)).toMatchObject({ name: 'ann' });
    expect(await check(await sign(other, claims), both)).toBeUndefined();
    expect(await check(await sign(key, { ...claims, iss: second.issuer }), both)).toBeUndefined();
  });
});

function setOf(signer: SigningKey): KeySet {
  return new KeySet(
    'second',
    async () => ({ keys: [signer.publicJwk] }),
    log,
    () => 0,
  );
}

describe('the form of a token', () => {
  it.each([
    ['a.b.c', true],
    ['a.b.', false],
    ['a.b', false],
    ['a.b.c.d', false],
    ['a.b.c.d.e', false],
    ['gw_1_2', false],
    ['a.b.c=', false],
    ['', false],
  ])('of "%s": %s', (text, is) => {
    expect(looksLikeToken(text)).toBe(is);
  });
});
