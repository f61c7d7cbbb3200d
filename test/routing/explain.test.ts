import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CompletionRequestSchema, Role, RoutingStrategy } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CircuitState } from '../../gen/llmgateway/v1/provider_pb.ts';
import type { Principal } from '../../src/completion.ts';
import { Catalogue, type ConfiguredModel } from '../../src/routing/catalogue.ts';
import { type Closed, explain } from '../../src/routing/explain.ts';
import { Observations } from '../../src/routing/observations.ts';
import { Router } from '../../src/routing/router.ts';
import { scripted } from '../attempt/fake-provider.ts';

const anybody: Principal = { name: 'anybody', tier: 'default', models: [], admin: true };
const limits = { unaryMs: 1, firstTokenMs: 1, idleMs: 1, slowFirstTokenMs: 1, slowUnaryMs: 1 };
const open: Closed = { why: 'circuit_open', retryAfterMs: 4_000, busy: false, words: 'its circuit breaker is open' };
const limited: Closed = { why: 'rate_limited', retryAfterMs: 7_000, busy: false, words: 'it is limited' };
const full: Closed = { why: 'rate_limited', retryAfterMs: 1_000, busy: true, words: 'it is full' };

/** The route `all` over the providers `a`, `b`, `c` and `away`, which is not there. */
function openRouter(closed: Record<string, Closed> = {}, models: Partial<ConfiguredModel>[] = []) {
  const providers = [
    ...['a', 'b', 'c'].map((name) => scripted(name, [])),
    { ...scripted('away', []), unavailable: 'it is away' },
  ];
  const observations = new Observations();
  const catalogue = new Catalogue({
    providers: () => providers,
    models: models.map((model) => ({
      id: 'm',
      provider: '',
      rates: {},
      contextWindow: undefined,
      quality: undefined,
      ...model,
    })),
    listOf: () => undefined,
    freshMs: 30_000,
    timeoutMs: 1_000,
  });
  const targets = providers.map(({ name }) => ({ provider: name, model: 'm', weight: name === 'b' ? 3 : 1 }));
  const router = new Router({
    names: {
      providers,
      routes: [
        { model: 'all', targets },
        { model: 'lost', targets: [{ provider: 'away', model: 'm' }] },
      ],
      lists: catalogue.has.bind(catalogue),
      known: () => [],
      common: new Set(),
      fallback: true,
    },
    catalogue,
    observations,
    strategy: RoutingStrategy.FAILOVER,
    limitsOf: () => limits,
    random: () => 0.5,
  });
  return {
    providers,
    observations,
    router,
    explain: (request: MessageInitShape<typeof CompletionRequestSchema>, principal = anybody, streaming = false) =>
      explain(
        requestOf(request),
        { principal, streaming },
        {
          router,
          observations,
          refusalOf: ({ provider }) => closed[provider.name],
          circuitStateOf: ({ provider }) => (closed[provider.name] === open ? CircuitState.OPEN : CircuitState.CLOSED),
          failureOf: (refused) =>
            refused.every(({ refusal }) => refusal === limited) ? 'provider_rate_limited' : 'no_provider_available',
        },
      ),
  };
}

function requestOf(request: MessageInitShape<typeof CompletionRequestSchema>) {
  const messages = [{ role: Role.USER, parts: [{ kind: { case: 'text' as const, value: 'x'.repeat(400) } }] }];
  return create(CompletionRequestSchema, { model: 'all', messages, ...request });
}

/** Each target as `name position left_out`. */
function outline({ targets }: Awaited<ReturnType<ReturnType<typeof openRouter>['explain']>>): string[] {
  return targets.map(({ provider, position, leftOut }) => `${provider} ${position} ${leftOut}`.trim());
}

describe('an explanation', () => {
  it('tells the targets in order, and whom it leaves out', async () => {
    const explained = await openRouter().explain({});
    expect(explained).toMatchObject({
      route: 'all',
      strategy: RoutingStrategy.FAILOVER,
      fallback: true,
      estimatedPromptTokens: 100,
      failure: '',
    });
    expect(outline(explained)).toEqual(['a 1', 'b 2', 'c 3', 'away 0 unavailable']);
    expect(explained.targets.at(-1)).toMatchObject({ explanation: 'it is away', weight: 1 });
  });

  it('lists those that are closed after the others, in the order in which they would come', async () => {
    const explained = await openRouter({ a: open, b: limited }).explain({});
    expect(outline(explained)).toEqual(['c 1', 'a 0 circuit_open', 'b 0 rate_limited', 'away 0 unavailable']);
    expect(explained.targets[1]).toMatchObject({
      circuitState: CircuitState.OPEN,
      explanation: 'its circuit breaker is open',
      retryAfter: { seconds: 4n },
    });
    expect(explained.failure).toBe('');
  });

  it.each([
    [{ a: open, b: limited, c: open }, 'no_provider_available'],
    [{ a: limited, b: limited, c: limited }, 'provider_rate_limited'],
    [{ a: open, b: full, c: open }, ''],
  ])('tells what a call would fail with', async (closed, failure) => {
    expect((await openRouter(closed as Record<string, Closed>).explain({})).failure).toBe(failure);
  });

  it('tells what a call would fail with where nobody is there', async () => {
    const explained = await openRouter().explain({ model: 'lost' });
    expect([explained.route, explained.failure, outline(explained)]).toEqual([
      'lost',
      'no_provider_available',
      ['away 0 unavailable'],
    ]);
  });

  it('fails as a call does where the name leads nowhere', async () => {
    const failing = openRouter().explain({ model: 'nobody-has-this' });
    await expect(failing).rejects.toMatchObject({ reason: 'model_not_found' });
  });

  it('leaves out what the key may not use, and the others where nobody may follow the first', async () => {
    const { explain } = openRouter();
    expect(outline(await explain({}, { ...anybody, models: ['b/m', 'c/m'] }))).toEqual([
      'b 1',
      'c 2',
      'a 0 not_permitted',
      'away 0 not_permitted',
    ]);
    expect(outline(await explain({ options: { fallback: false } }))).toEqual([
      'a 1',
      'away 0 unavailable',
      'b 0 fallback_off',
      'c 0 fallback_off',
    ]);
    expect(outline(await explain({ options: { provider: 'b', fallback: false } }))).toEqual([
      'b 1',
      'a 0 fallback_off',
      'c 0 fallback_off',
      'away 0 fallback_off',
    ]);
  });

  it('leaves out a target whose window is too small', async () => {
    const { explain } = openRouter({}, [{ provider: 'b', contextWindow: 150 }]);
    const explained = await explain({ maxOutputTokens: 60 });
    expect(outline(explained)).toEqual(['a 1', 'c 2', 'away 0 unavailable', 'b 0 window_too_small']);
    expect(explained.targets[3]).toMatchObject({
      contextWindow: 150,
      explanation: 'the call needs about 160 tokens, and its window has 150',
    });
  });

  it('puts the preferred provider first', async () => {
    const explained = await openRouter().explain({ options: { provider: 'c' } });
    expect(outline(explained).slice(0, 3)).toEqual(['c 1', 'a 2', 'b 3']);
    expect(explained.targets[0]?.explanation).toBe('the call prefers its provider');
  });

  it('goes by price, and tells it', async () => {
    const { explain } = openRouter({}, [
      { provider: 'a', rates: { input: 2, output: 2 } },
      { provider: 'c', rates: { input: 1, output: 1 } },
    ]);
    const explained = await explain({
      maxOutputTokens: 100,
      options: { routingStrategy: RoutingStrategy.LOWEST_COST },
    });
    expect(outline(explained).slice(0, 3)).toEqual(['c 1', 'a 2', 'b 3']);
    expect(explained.targets.map(({ estimatedUsd }) => estimatedUsd).slice(0, 3)).toEqual([0.0002, 0.0004, undefined]);
    expect(explained.targets[2]?.explanation).toBe('its price is unknown');
  });

  it('tells the latency of calls of the same kind', async () => {
    const { explain, observations } = openRouter();
    const record = observations.attemptsAt('b', 'm');
    record.begin(true);
    record.firstContent(250, true);
    record.end({ ok: true }, 900, true);
    const ofB = async (streaming: boolean) =>
      (await explain({}, anybody, streaming)).targets.find(({ provider }) => provider === 'b')?.latency?.nanos;
    expect([await ofB(true), await ofB(false)]).toEqual([250_000_000, undefined]);
  });

  it('takes nobody’s turn, and asks nobody', async () => {
    const { explain, router, providers } = openRouter();
    const request = { options: { routingStrategy: RoutingStrategy.ROUND_ROBIN } };
    const first = outline(await explain(request));
    expect(outline(await explain(request))).toEqual(first);

    const asked = requestOf(request);
    const served = router.order(router.resolveNow(asked, anybody), asked, { streaming: false, admits: () => true });
    expect(served.map(({ provider }) => provider.name)).toEqual(first.slice(0, 3).map((each) => each[0]));
    expect(outline(await explain(request))).not.toEqual(first);
    expect(providers.map((provider) => ('asked' in provider ? provider.asked : 0))).toEqual([0, 0, 0, 0]);
  });
});
