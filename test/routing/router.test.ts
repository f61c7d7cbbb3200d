import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { describe, expect, it, vi } from 'vitest';
import {
  type CallOptionsSchema,
  type CompletionRequest,
  CompletionRequestSchema,
  Role,
  RoutingStrategy,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import type { Principal } from '../../src/completion.ts';
import type { Target } from '../../src/providers/target.ts';
import { Catalogue, type ConfiguredModel } from '../../src/routing/catalogue.ts';
import { Observations } from '../../src/routing/observations.ts';
import type { Route } from '../../src/routing/resolve.ts';
import { Router, type WhyLeftOut } from '../../src/routing/router.ts';
import { scripted } from '../attempt/fake-provider.ts';

const { FAILOVER, HIGHEST_QUALITY, LEAST_LATENCY, LOWEST_COST, RANDOM, ROUND_ROBIN } = RoutingStrategy;
const anybody: Principal = { name: 'anybody', tier: 'default', models: [], admin: false };
const limits = { unaryMs: 1, firstTokenMs: 1, idleMs: 1, slowFirstTokenMs: 1, slowUnaryMs: 1 };

type Options = MessageInitShape<typeof CallOptionsSchema>;

interface Setup {
  readonly models?: readonly (Partial<ConfiguredModel> & { readonly provider: string })[];
  readonly strategy?: RoutingStrategy;
  readonly ofRoute?: RoutingStrategy;
  readonly weights?: readonly number[];
  readonly lists?: (id: string) => boolean;
  readonly fallback?: boolean;
}

/** A router over the providers a, b and c, and a route `any` over a model `m` at each of them. */
function routerOf(setup: Setup = {}) {
  const { models = [], strategy = ROUND_ROBIN, ofRoute, weights = [], lists = () => true, fallback = true } = setup;
  const providers = ['a', 'b', 'c'].map((name) => scripted(name, []));
  const observations = new Observations();
  const targets = providers.map(({ name }, at) => ({ provider: name, model: 'm', weight: weights[at] }));
  const routes: Route[] = [{ model: 'any', targets, strategy: ofRoute }];
  const catalogue = new Catalogue({
    providers: () => [],
    models: models.map((model) => ({ id: 'm', rates: {}, contextWindow: undefined, quality: undefined, ...model })),
    listOf: () => undefined,
    freshMs: 1,
    timeoutMs: 1,
  });
  const router = new Router({
    names: { providers, routes, lists: (_, id) => lists(id), known: () => [], common: new Set(), fallback },
    catalogue,
    observations,
    strategy,
    limitsOf: () => limits,
    random: () => 0.5,
  });
  const closed = new Set<string>();
  const left: [string, WhyLeftOut][] = [];
  const order = (options: Options = {}, { text = 'hi', dry = false, model = 'any' } = {}) => {
    left.length = 0;
    const asked = requestOf(model, text, options);
    const resolved = router.resolveNow(asked, anybody);
    return router
      .order(resolved, asked, {
        streaming: true,
        admits: ({ provider }) => !closed.has(provider.name),
        leaveOut: ({ provider }, why) => left.push([provider.name, why]),
        dry,
      })
      .map(({ provider }) => provider.name)
      .join('');
  };
  return { router, observations, catalogue, providers, closed, left, order };
}

function requestOf(model: string, text = 'hi', options: Options = {}): CompletionRequest {
  const messages = [{ role: Role.USER, parts: [{ kind: { case: 'text' as const, value: text } }] }];
  return create(CompletionRequestSchema, { model, messages, options });
}

describe('the strategy', () => {
  it('of the call goes before that of the route, and that before the one everywhere', () => {
    const models = [
      { provider: 'a', quality: 0.1 },
      { provider: 'b', quality: 0.2, rates: { input: 9, output: 9 } },
      { provider: 'c', quality: 0.3, rates: { input: 1, output: 1 } },
    ];
    expect(routerOf({ models, strategy: LOWEST_COST }).order()).toBe('cba');
    expect(routerOf({ models, strategy: LOWEST_COST, ofRoute: FAILOVER }).order()).toBe('abc');
    const { order } = routerOf({ models, strategy: LOWEST_COST, ofRoute: FAILOVER });
    expect(order({ routingStrategy: HIGHEST_QUALITY })).toBe('cba');
  });

  it('takes turns in each group of targets by itself', () => {
    const { order } = routerOf();
    expect([order(), order(), order(), order()].map(([first]) => first)).toEqual(['a', 'b', 'c', 'a']);
    expect(order({}, { model: 'auto' })).toBe('abc');
    expect(order({}, { model: '' })[0]).toBe('b'); // an empty name is the same as auto
    expect(order()[0]).toBe('b');
  });

  it('takes nobody its turn where the order is only looked at', () => {
    const { order } = routerOf();
    for (let look = 0; look < 5; look++) expect(order({}, { dry: true })).toBe('abc');
    expect([order(), order()].map(([first]) => first)).toEqual(['a', 'b']);
  });

  it('sees the weights of a route', () => {
    const { order } = routerOf({ weights: [2, 1, 0] });
    const firsts = Array.from({ length: 6 }, () => order()[0]).join('');
    expect(firsts.replaceAll(/[^a]/g, '')).toHaveLength(4);
    expect(firsts).not.toContain('c');
  });

  it('sees latencies of calls of the same kind', () => {
    const { order, observations } = routerOf({ strategy: LEAST_LATENCY });
    for (const [name, ms] of [
      ['a', 900],
      ['b', 500],
      ['c', 100],
    ] as const)
      observations.ofTarget(name, 'm').firstContent(ms, true);
    expect(order()).toBe('cba');
  });
});

describe('targets that are closed for the moment', () => {
  it.each([
    ['round robin', ROUND_ROBIN, 'bca'],
    ['least latency', LEAST_LATENCY, 'bca'],
    ['lowest cost', LOWEST_COST, 'bca'],
    ['highest quality', HIGHEST_QUALITY, 'bca'],
    ['random', RANDOM, 'bca'],
    ['failover, which is the configured order', FAILOVER, 'abc'],
  ])('come last under %s', (_, strategy, expected) => {
    const { order, closed } = routerOf({ strategy });
    closed.add('a');
    expect(order()).toBe(expected);
  });

  it('lose no turn', () => {
    const { order, closed } = routerOf();
    closed.add('a');
    for (let call = 0; call < 30; call++) order();
    closed.clear();
    const firsts = Array.from({ length: 30 }, () => order()[0]).join('');
    for (const name of 'abc') expect(firsts.replaceAll(new RegExp(`[^${name}]`, 'g'), '')).toHaveLength(10);
  });

  it('are all left in where all are closed', () => {
    const { order, closed } = routerOf();
    for (const name of 'abc') closed.add(name);
    expect(order()).toBe('abc');
  });
});

describe('the provider that a call prefers', () => {
  it('goes first under every strategy, closed or not', () => {
    for (const strategy of [ROUND_ROBIN, LEAST_LATENCY, LOWEST_COST, HIGHEST_QUALITY, RANDOM, FAILOVER]) {
      const { order, closed } = routerOf({ strategy });
      expect(order({ provider: 'c' })[0]).toBe('c');
      closed.add('c');
      expect(order({ provider: 'c' })[0]).toBe('c');
    }
  });

  it('is the only one without fallback', () => {
    const { order } = routerOf();
    expect(order({ provider: 'b', fallback: false })).toBe('b');
  });
});

describe('without fallback', () => {
  it('only the first is left, and the others are told of', () => {
    const { order, left } = routerOf();
    expect(order({ fallback: false })).toBe('a');
    expect(left).toEqual([
      ['b', 'fallback_off'],
      ['c', 'fallback_off'],
    ]);
  });

  it('it is one that is open, as long as there is one', () => {
    const { order, closed } = routerOf();
    closed.add('a');
    expect(order({ fallback: false })).toBe('b');
  });

  it('holds for all calls that do not say otherwise where it is configured', () => {
    const { order } = routerOf({ fallback: false });
    expect(order()).toHaveLength(1);
    expect(order({ fallback: true })).toHaveLength(3);
  });
});

describe('targets that cannot answer the request', () => {
  const models = [
    { provider: 'a', contextWindow: 100 },
    { provider: 'b', contextWindow: 10_000 },
  ];

  it('are left out', () => {
    const { order, left } = routerOf({ models, strategy: FAILOVER });
    expect(order({}, { text: 'x'.repeat(4_000) })).toBe('bc');
    expect(left).toEqual([['a', 'window_too_small']]);
    expect(order()).toBe('abc');
  });

  it('are left in where nobody can: what is known may be wrong', () => {
    const { order, left } = routerOf({
      models: [...models, { provider: 'c', contextWindow: 100 }],
      strategy: FAILOVER,
    });
    expect(order({}, { text: 'x'.repeat(80_000) })).toBe('abc');
    expect(left).toEqual([]);
  });

  it('are left out even where the call prefers them', () => {
    const { order } = routerOf({ models });
    expect(order({ provider: 'a' }, { text: 'x'.repeat(4_000) })).not.toContain('a');
  });
});

describe('a call', () => {
  it('is resolved once, however many ask', () => {
    const { router } = routerOf();
    const asked = requestOf('any');
    const resolved = router.resolve(asked, anybody);
    expect(router.resolve(asked, anybody)).toBe(resolved);
    const wishing = requestOf('any', 'hi', { provider: 'a' });
    expect(router.resolve(wishing, anybody)).toBe(router.resolve(wishing, anybody));
  });

  it('that wishes for a model only goes where the one before it went', () => {
    const { router } = routerOf();
    const resolved = router.resolve(requestOf('any'), anybody);
    expect(router.resolve(requestOf('any', 'something else'), anybody)).toBe(resolved);
    for (const wish of [{ provider: 'b' }, { fallback: false }, { routingStrategy: RANDOM }]) {
      expect(router.resolve(requestOf('any', 'hi', wish), anybody)).not.toBe(resolved);
    }
    const somebody = { ...anybody, models: ['a/*'] };
    expect(router.resolve(requestOf('any'), somebody)).toMatchObject({ targets: [{ provider: { name: 'a' } }] });
    expect(router.resolve(requestOf('any'), anybody)).toBe(resolved);
  });

  it('goes elsewhere once a provider is gone, or back, or more is known of models', () => {
    const { router, catalogue, providers } = routerOf();
    const [first] = providers;
    const targets = () => {
      const resolved = router.resolve(requestOf('any'), anybody);
      if (resolved instanceof Promise) throw new Error('not now');
      return resolved.targets;
    };
    const names = () => targets().map(({ provider }) => provider.name);
    expect(names()).toEqual(['a', 'b', 'c']);
    Object.assign(first ?? {}, { unavailable: 'gone' });
    expect(names()).toEqual(['b', 'c']);
    Object.assign(first ?? {}, { unavailable: undefined });
    expect(names()).toEqual(['a', 'b', 'c']);
    const before = targets();
    expect(targets()).toBe(before);
    catalogue.version++;
    expect(targets()).not.toBe(before);
  });

  it('is resolved to the same targets as others, as long as nothing else is known of them', () => {
    const { router } = routerOf();
    const targetsOf = () => router.resolveNow(requestOf('any'), anybody).targets;
    const [before, after] = [targetsOf(), targetsOf()];
    expect(after.map((target, at) => target === before[at])).toEqual([true, true, true]);
  });

  it('of a name that nobody has asks the providers for their lists, once, and remembers what came of it', async () => {
    let isListed = false;
    const { router, catalogue } = routerOf({ lists: () => isListed });
    vi.spyOn(catalogue, 'stale', 'get').mockReturnValue(true);
    const refresh = vi.spyOn(catalogue, 'refresh').mockImplementation(async () => {
      isListed = true;
    });
    const asked = requestOf('new');
    const resolving = router.resolve(asked, anybody);
    expect(router.resolve(asked, anybody)).toBe(resolving);
    const { targets } = await resolving;
    expect(targets.map(({ provider, model }: Target) => `${provider.name}/${model}`)).toEqual([
      'a/new',
      'b/new',
      'c/new',
    ]);
    expect(router.resolve(asked, anybody)).toMatchObject({ targets });
    expect(refresh).toHaveBeenCalledTimes(1);
  });

  it('of a name that nobody has fails at once where the lists are fresh', () => {
    const { router, catalogue } = routerOf({ lists: () => false });
    vi.spyOn(catalogue, 'stale', 'get').mockReturnValue(false);
    expect(() => router.resolve(requestOf('new'), anybody)).toThrow('no provider has the model "new"');
  });
});
