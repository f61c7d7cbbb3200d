import { createHash } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { type Admitted, authenticator, type KnownKey } from '../../src/admission/authenticate.ts';
import { FailedTries } from '../../src/admission/failed-tries.ts';
import type { Principal } from '../../src/completion.ts';
import type { GatewayError } from '../../src/errors.ts';

const sha256 = (key: string) => createHash('sha256').update(key).digest('hex');
const known = (key: string, more: Partial<KnownKey> = {}): KnownKey => ({
  name: 'team',
  tier: 'default',
  models: [],
  admin: false,
  sha256: sha256(key),
  ...more,
});
const headers = (given: Record<string, string>) => (name: string) => given[name];
const bearer = (key: string) => headers({ authorization: `Bearer ${key}` });

/** Lets the keys in, and anybody try as often as they like unless told otherwise. */
function open(keys: readonly KnownKey[], more: Partial<Admitted> = {}) {
  const failedTries = new FailedTries({ burst: 1000, perSecond: 1, clients: 10 });
  const authenticate = authenticator({ keys, failedTries, ...more });
  return (header: ReturnType<typeof headers>, address = '192.0.2.1') => authenticate(header, address) as Principal;
}

describe('authentication', () => {
  const long = 'x'.repeat(8192);
  const authenticate = open([
    known('right'),
    known('new-right'),
    known('RIGHT-TOO', { name: 'ops', admin: true, sha256: sha256('RIGHT-TOO').toUpperCase() }),
    known(long, { name: 'long' }),
  ]);

  it.each([
    [{ authorization: 'Bearer right' }, 'team'],
    [{ authorization: 'bearer  right ' }, 'team'],
    [{ 'x-api-key': 'right' }, 'team'],
    [{ 'api-key': 'right' }, 'team'],
    [{ authorization: 'Bearer RIGHT-TOO' }, 'ops'],
    [{ authorization: 'Bearer new-right' }, 'team'],
    [{ authorization: `Bearer ${long}` }, 'long'],
  ])('knows %o', (given, name) => {
    expect(authenticate(headers(given)).name).toBe(name);
  });

  it.each([
    {},
    { authorization: '' },
    { authorization: 'Bearer ' },
    { authorization: 'Basic right' },
    { authorization: 'right' },
    { authorization: 'Bearer righ' },
    { authorization: 'Bearer rightx' },
    { authorization: 'Bearer Right' },
    { authorization: 'Bearer undefined' },
    { authorization: `Bearer ${long}x` },
    { authorization: `Bearer ${long.slice(1)}` },
    { authorization: 'Bearer RIGHT' },
    { authorization: 'Bearer "right"' },
    { authorization: 'Bearer right,right' },
    { authorization: 'Bearer right right' },
    { authorization: 'Bearer Bearer right' },
    { authorization: 'Bearerright' },
    { authorization: 'Bearer:right' },
    { authorization: 'Bearer\tright' },
    { authorization: 'Bearer null' },
    { authorization: 'Bearer %72ight' },
    { authorization: `Bearer ${sha256('right')}` },
    { authorization: 'Bearer wrong', 'x-api-key': 'right' },
    { authorization: 'Bearer __proto__' },
    { 'x-api-key': sha256('right') },
  ])('refuses %o with the same words', (given: Record<string, string>) => {
    const refusal = {
      reason: 'unauthenticated',
      message: 'a valid API key is needed: send it as "Authorization: Bearer KEY"',
    };
    expect(() => authenticate(headers(given))).toThrow(expect.objectContaining(refusal));
  });

  it('refuses a key that has expired since it was accepted', () => {
    vi.useFakeTimers({ now: 1000 });
    const expiring = open([known('right', { expiresAt: 2000 })]);
    expect(expiring(bearer('right')).name).toBe('team');
    vi.setSystemTime(2000);
    expect(() => expiring(bearer('right'))).toThrow(expect.objectContaining({ reason: 'unauthenticated' }));
    vi.useRealTimers();
  });

  it('judges what a connection shows by itself, whatever it showed before', () => {
    const failedTries = new FailedTries({ burst: 1000, perSecond: 1, clients: 10 });
    const judged = authenticator({ keys: [known('right'), known('other', { name: 'other' })], failedTries });
    const connection = {};
    const judge = (given: Record<string, string>, shownBy: object = connection) => {
      try {
        return (judged(headers(given), '192.0.2.1', shownBy) as Principal).name;
      } catch (error) {
        return (error as GatewayError).reason;
      }
    };
    const right = { authorization: 'Bearer right' };
    expect(judge(right)).toBe('team');
    expect(judge(right)).toBe('team');
    for (const wrong of ['Bearer righ', 'Bearer Right', 'Bearer righu', 'Bearer right2', 'Cearer right', '']) {
      expect(judge({ authorization: wrong })).toBe('unauthenticated');
      expect(judge({})).toBe('unauthenticated');
      expect(judge({ 'x-api-key': 'other' })).toBe('other');
      expect(judge(right)).toBe('team');
    }
    expect(judge({ authorization: 'Bearer other' })).toBe('other');
    expect(judge({ authorization: 'Bearer wrong' }, {})).toBe('unauthenticated');
    expect(judge({ authorization: 'Bearer other' })).toBe('other');
    expect(judge(right)).toBe('team');
  });

  it('refuses a key that has expired since its connection showed it', () => {
    vi.useFakeTimers({ now: 1000 });
    const failedTries = new FailedTries({ burst: 1000, perSecond: 1, clients: 10 });
    const expiring = authenticator({ keys: [known('right', { expiresAt: 2000 })], failedTries });
    const connection = {};
    expect(expiring(bearer('right'), '192.0.2.1', connection)).toMatchObject({ name: 'team' });
    vi.setSystemTime(2000);
    expect(() => expiring(bearer('right'), '192.0.2.1', connection)).toThrow(
      expect.objectContaining({ reason: 'unauthenticated' }),
    );
    vi.useRealTimers();
  });

  it('tells no more of a key than whose it is', () => {
    const principal = open([known('right', { expiresAt: Date.now() + 60_000 })])(bearer('right'));
    expect(principal).toEqual({ name: 'team', tier: 'default', models: [], admin: false });
  });

  it('answers what fails too often from one address with when to come back, and lets valid keys pass even then', () => {
    const failedTries = new FailedTries({ burst: 2, perSecond: 0.01, clients: 10 });
    const limited = open([known('right')], { failedTries });
    const refused = (key: string, address: string) => {
      try {
        limited(key === '' ? headers({}) : bearer(key), address);
      } catch (error) {
        return (error as GatewayError).reason;
      }
      return undefined;
    };
    const reasons = ['wrong', '', 'wrong', '', 'right', 'wrong'].map((key) => refused(key, '192.0.2.1'));
    expect(reasons).toEqual([
      'unauthenticated',
      'unauthenticated',
      'rate_limited',
      'rate_limited',
      undefined,
      'rate_limited',
    ]);
    expect(refused('wrong', '192.0.2.2')).toBe('unauthenticated');
    expect(() => limited(bearer('wrong'), '192.0.2.1')).toThrow(
      expect.objectContaining({
        message: 'too many tries without a valid API key from this address: try again in 100 s',
        retryAfterMs: expect.closeTo(100_000, -3),
      }),
    );
  });

  it('lets anybody in without keys, as administrator too, whatever they present and how often', () => {
    const failedTries = new FailedTries({ burst: 1, perSecond: 0.01, clients: 10 });
    const everybody = open([], { failedTries });
    for (const given of [headers({}), bearer('anything'), bearer('anything')]) {
      expect(everybody(given)).toMatchObject({ name: 'anonymous', admin: true });
    }
  });

  it('protects admin alone when only the admin key is set', () => {
    const adminOnly = open([], { adminKeySha256: sha256('boss') });
    expect(adminOnly(headers({}))).toMatchObject({ name: 'anonymous', admin: false });
    expect(adminOnly(bearer('wrong'))).toMatchObject({ name: 'anonymous', admin: false });
    expect(adminOnly(bearer('boss'))).toMatchObject({ admin: true });
  });
});
