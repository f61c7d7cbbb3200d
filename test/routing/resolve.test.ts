import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CompletionRequestSchema, RoutingStrategy } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { Principal } from '../../src/completion.ts';
import { Catalogue } from '../../src/routing/catalogue.ts';
import { Observations } from '../../src/routing/observations.ts';
import { type Names, type Route, routeOf } from '../../src/routing/resolve.ts';
import { Router } from '../../src/routing/router.ts';
import { fits } from '../../src/routing/wildcard.ts';
import { scripted } from '../attempt/fake-provider.ts';

const anybody: Principal = { name: 'anybody', tier: 'default', models: [], admin: false };
const groq = scripted('groq', []);
const local = scripted('local', []);
const away = { ...scripted('away', []), unavailable: 'it does not answer' };
const models: Record<string, readonly string[]> = { groq: ['big', 'openai/shared'], local: ['small', 'openai/shared'] };
const routes: Route[] = [
  {
    model: 'fast',
    targets: [
      { provider: 'local', model: 'small' },
      { provider: 'groq', model: '' },
    ],
  },
  { model: 'gpt-*', targets: [{ provider: 'groq', model: '' }] },
  { model: 'gpt-4*', targets: [{ provider: 'local', model: 'four' }] },
];
const names: Names = {
  providers: [groq, local, away],
  routes,
  lists: (provider, id) => models[provider.name]?.includes(id) ?? false,
  known: () => Object.values(models).flat(),
  common: new Set(['gemini']),
  fallback: true,
};

const limits = { unaryMs: 1, firstTokenMs: 1, idleMs: 1, slowFirstTokenMs: 1, slowUnaryMs: 1 };
const router = new Router({
  names,
  catalogue: new Catalogue({ providers: () => [], models: [], listOf: () => undefined, freshMs: 1, timeoutMs: 1 }),
  observations: new Observations(),
  strategy: RoutingStrategy.FAILOVER,
  limitsOf: () => limits,
  random: () => 0.5,
});

function targets(
  model: string,
  options: { provider?: string; fallback?: boolean } = {},
  principal = anybody,
): string[] {
  const request = create(CompletionRequestSchema, { model, options });
  const resolved = router.resolveNow(request, principal);
  const ordered = router.order(resolved, request, { streaming: true, admits: () => true });
  return ordered.map(({ provider, model: id }) => `${provider.name}:${id}`);
}

describe('choosing a model', () => {
  it.each([
    ['', {}, ['groq:groq-model', 'local:local-model']],
    ['auto', {}, ['groq:groq-model', 'local:local-model']],
    ['auto', { provider: 'local' }, ['local:local-model', 'groq:groq-model']],
    ['auto', { provider: 'local', fallback: false }, ['local:local-model']],
    ['auto', { fallback: false }, ['groq:groq-model']],
    ['fast', {}, ['local:small', 'groq:groq-model']],
    ['fast', { provider: 'groq' }, ['groq:groq-model', 'local:small']],
    ['gpt-3', {}, ['groq:gpt-3']],
    ['gpt-4x', {}, ['local:four']],
    ['openai/shared', {}, ['groq:openai/shared', 'local:openai/shared']],
    ['local/openai/shared', {}, ['local:openai/shared']],
    ['groq/never-heard-of', {}, ['groq:never-heard-of']],
    ['never-heard-of', { provider: 'groq' }, ['groq:never-heard-of']],
    ['big', { provider: 'local' }, ['local:big', 'groq:big']],
    ['groq/big', { provider: 'groq' }, ['groq:big']],
    ['auto', { provider: 'gemini' }, ['groq:groq-model', 'local:local-model']],
  ] as const)('%s with %o leads to %o', (model, options, expected) => {
    expect(targets(model, options)).toEqual(expected);
  });

  it.each([
    ['biig', {}, 'model_not_found', /"biig".*"big"/],
    ['big', { provider: 'grok' }, 'invalid_request', /"grok".*"groq"/],
    ['big', { provider: 'gemini', fallback: false }, 'invalid_request', /"gemini"/],
    ['away/x', {}, 'no_provider_available', /it does not answer/],
    ['auto', { provider: 'away', fallback: false }, 'no_provider_available', /it does not answer/],
  ] as const)('%s with %o is refused as %s', (model, options, reason, message) => {
    expect(() => targets(model, options)).toThrow(
      expect.objectContaining({ reason, message: expect.stringMatching(message) }),
    );
  });

  it.each([
    [['fast'], 'fast', ['local:small', 'groq:groq-model']],
    [['groq/*'], 'openai/shared', ['groq:openai/shared']],
    [['groq/*'], 'fast', ['groq:groq-model']],
    [['small'], 'fast', ['local:small']],
  ])('a key for %o that asks for %s gets %o', (permitted, model, expected) => {
    expect(targets(model, {}, { ...anybody, models: permitted })).toEqual(expected);
  });

  it('refuses what the key may not use', () => {
    const principal = { ...anybody, models: ['fast'] };
    expect(() => targets('big', {}, principal)).toThrow(expect.objectContaining({ reason: 'permission_denied' }));
  });

  it('prefers the alias to wildcards and the longer wildcard to the shorter', () => {
    expect(['fast', 'gpt-5', 'gpt-4o', 'none'].map((name) => routeOf(routes, name)?.model)).toEqual([
      'fast',
      'gpt-*',
      'gpt-4*',
      undefined,
    ]);
  });
});

describe('wildcards', () => {
  it.each([
    ['a*', 'a', true],
    ['a*', 'abc', true],
    ['*', '', true],
    ['a*c', 'ac', true],
    ['a*c', 'a', false],
    ['a*a', 'a', false],
    ['*b*', 'abc', true],
    ['a.c', 'abc', false],
    ['groq/*', 'groq/openai/x', true],
  ])('%s fits %s: %s', (pattern, name, expected) => {
    expect(fits(pattern, name)).toBe(expected);
  });
});
