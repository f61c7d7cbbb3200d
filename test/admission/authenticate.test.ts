import { createHash } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { authenticator, type KnownKey } from '../../src/admission/authenticate.ts';

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

describe('authentication', () => {
  const authenticate = authenticator([
    known('right'),
    known('RIGHT-TOO', { name: 'ops', admin: true, sha256: sha256('RIGHT-TOO').toUpperCase() }),
  ]);

  it.each([
    [{ authorization: 'Bearer right' }, 'team'],
    [{ authorization: 'bearer  right ' }, 'team'],
    [{ 'x-api-key': 'right' }, 'team'],
    [{ 'api-key': 'right' }, 'team'],
    [{ authorization: 'Bearer RIGHT-TOO' }, 'ops'],
  ])('knows %o', (given, name) => {
    expect(authenticate(headers(given)).name).toBe(name);
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
    { authorization: `Bearer ${'x'.repeat(8192)}` },
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
    const expiring = authenticator([known('right', { expiresAt: 2000 })]);
    expect(expiring(bearer('right')).name).toBe('team');
    vi.setSystemTime(2000);
    expect(() => expiring(bearer('right'))).toThrow(expect.objectContaining({ reason: 'unauthenticated' }));
    vi.useRealTimers();
  });

  it('lets anybody in without keys, as administrator too, whatever they present', () => {
    const open = authenticator([]);
    expect(open(headers({}))).toMatchObject({ name: 'anonymous', admin: true });
    expect(open(bearer('anything'))).toMatchObject({ name: 'anonymous', admin: true });
  });

  it('protects admin alone when only the admin key is set', () => {
    const adminOnly = authenticator([], sha256('boss'));
    expect(adminOnly(headers({}))).toMatchObject({ name: 'anonymous', admin: false });
    expect(adminOnly(bearer('wrong'))).toMatchObject({ name: 'anonymous', admin: false });
    expect(adminOnly(bearer('boss'))).toMatchObject({ admin: true });
  });
});
