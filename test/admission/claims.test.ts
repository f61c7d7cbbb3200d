import { describe, expect, it } from 'vitest';
import { type ClaimNames, principalFrom } from '../../src/admission/claims.ts';

const names: ClaimNames = { name: 'sub', namePrefix: '', tier: '', models: '', admin: '', adminValue: 'true' };
const tiers = new Set(['default', 'premium']);
const read = (claims: object, more: Partial<ClaimNames> = {}) =>
  principalFrom({ sub: 'ann', ...claims }, { ...names, ...more }, tiers);

describe('the claims of a token', () => {
  it('give a name, and the least of everything else unless it is asked of them', () => {
    const claims = { tier: 'premium', models: ['fast'], admin: true };
    expect(read(claims)).toEqual({ name: 'ann', tier: 'default', models: [], admin: false });
  });

  it.each([
    [{}, {}, 'ann'],
    [{ sub: 'auth0|5f7c8ec7' }, {}, 'auth0|5f7c8ec7'],
    [{ sub: 'spiffe://example.org/ns/a' }, { namePrefix: 'mesh:' }, 'mesh:spiffe://example.org/ns/a'],
    [{ sub: 42 }, {}, '42'],
    [{ email: 'ann@example.com' }, { name: 'email' }, 'ann@example.com'],
    [{ user: { id: 'ann2' } }, { name: 'user.id' }, 'ann2'],
    [{ 'https://a.example/id': 'ann3' }, { name: 'https://a.example/id' }, 'ann3'],
  ])('%j by %j name %s', (claims, more, name) => {
    expect(read(claims, more)?.name).toBe(name);
  });

  it.each([
    [{ sub: undefined }, {}],
    [{ sub: '' }, { namePrefix: 'x:' }],
    [{}, { namePrefix: 'x:', name: 'email' }],
    [{ sub: ['ann'] }, {}],
    [{ sub: { toString: 'ann' } }, {}],
    [{ sub: null }, {}],
    [{ sub: 'an\nn' }, {}],
    [{ sub: 'an n' }, {}],
    [{ sub: 'a{n}n' }, {}],
    [{ sub: 'x'.repeat(257) }, {}],
    [{}, { name: 'constructor.name' }],
    [{}, { name: '__proto__' }],
  ])('%j by %j name nobody', (claims, more) => {
    expect(read(claims, more)).toBeUndefined();
  });

  it.each([
    [{ tier: 'premium' }, 'premium'],
    [{ tier: 'golden' }, 'default'],
    [{ tier: ['premium'] }, 'default'],
    [{}, 'default'],
  ])('%j give the tier %s', (claims, tier) => {
    expect(read(claims, { tier: 'tier' })?.tier).toBe(tier);
  });

  it.each([
    [
      ['fast', 'groq/*'],
      ['fast', 'groq/*'],
    ],
    ['fast groq/*', ['fast', 'groq/*']],
    ['fast', ['fast']],
  ])('with models %j allow these', (models, allowed) => {
    expect(read({ models }, { models: 'models' })?.models).toEqual(allowed);
  });

  it.each([undefined, [], '', ' ', [''], {}, null])('with models %j allow none, not all', (models) => {
    expect(() => read({ models }, { models: 'models' })).toThrow(
      expect.objectContaining({
        reason: 'permission_denied',
        message: 'the token\'s claim "models" has no model to call',
      }),
    );
  });

  it.each([
    [{ admin: true }, { admin: 'admin' }, true],
    [{ admin: 'true' }, { admin: 'admin' }, true],
    [{ admin: false }, { admin: 'admin' }, false],
    [{ admin: 1 }, { admin: 'admin' }, false],
    [{ admin: { true: true } }, { admin: 'admin' }, false],
    [{}, { admin: 'admin' }, false],
    [{ realm_access: { roles: ['a', 'ops'] } }, { admin: 'realm_access.roles', adminValue: 'ops' }, true],
    [{ realm_access: { roles: ['a', 'opsi'] } }, { admin: 'realm_access.roles', adminValue: 'ops' }, false],
    [{ roles: 'not-ops' }, { admin: 'roles', adminValue: 'ops' }, false],
  ])('%j by %j make an administrator: %s', (claims, more, admin) => {
    expect(read(claims, more)?.admin).toBe(admin);
  });
});
