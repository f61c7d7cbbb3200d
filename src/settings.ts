import { type Duration, durationMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { type CompletionRequest, Guarantee, RoutingStrategy } from '../gen/llmgateway/v1/completion_pb.ts';
import {
  type Config,
  DropUnsupported,
  type JwtConfig,
  type KeyConfig,
  LimitBy as LimitByWord,
  type ModelConfig,
  OnOutage,
  OnRateLimit,
  type ProviderConfig,
  ProviderKind,
  type RouteCacheConfig,
  type RouteConfig,
} from '../gen/llmgateway/v1/config_pb.ts';
import type { EmbeddingRequest } from '../gen/llmgateway/v1/embedding_service_pb.ts';
import { ranksOf } from './admission/arrivals.ts';
import type { KnownKey } from './admission/authenticate.ts';
import type { Budget, BudgetedKey } from './admission/budget.ts';
import type { CallLimitsOptions, LimitBy, Tier } from './admission/call-limits.ts';
import type { KeySet } from './admission/key-set.ts';
import type { OverloadOptions } from './admission/overload.ts';
import type { Issuer } from './admission/tokens.ts';
import type { Plan } from './attempt/first-to-commit.ts';
import { noLimits, type ProviderLimits } from './attempt/provider-guard.ts';
import type { GuardSettings } from './attempt/target-guard.ts';
import type { CachePolicy } from './cache/cache.ts';
import type { CallContext } from './completion.ts';
import type { LoadedConfig } from './config.ts';
import type { ProxySettings } from './providers/proxy.ts';
import type { ProviderKindName, ProviderSettings } from './providers/registry.ts';
import type { AttemptLimits } from './providers/target.ts';
import type { ConfiguredModel } from './routing/catalogue.ts';
import { type ListName, listFor } from './routing/published-models.ts';
import { type Route, routeOf } from './routing/resolve.ts';
import { fits } from './routing/wildcard.ts';
import type { StoreSettings } from './store/open-stores.ts';
import type { OutagePolicy } from './store/outage.ts';
import { conventionalName } from './telemetry/conventional-name.ts';
import { namesWithin, type ProviderNames } from './telemetry/target-names.ts';

// From the configuration message to the plain arguments that the parts take.

type Request = CompletionRequest | EmbeddingRequest;

/** Before the first token Ollama may have to load a model, and a model may have to reason. */
const PATIENT_FIRST_TOKEN_MS = 120_000;
const FIRST_TOKEN_MS = 30_000;

/** `info` unless the configuration says otherwise. */
export function logLevel({ config }: LoadedConfig): string {
  const levels = ['info', 'trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
  return levels[config.telemetry?.logLevel ?? 0] ?? 'info';
}

/** A duration that the configuration has, by its defaults at least. */
export function milliseconds(duration: Duration | undefined): number {
  if (duration === undefined) throw new TypeError('the configuration lacks a default');
  return durationMs(duration);
}

function perhaps(duration: Duration | undefined): number | undefined {
  return duration && durationMs(duration);
}

export function keyFrom({ name, sha256, tier, models, admin, expires }: KeyConfig): KnownKey {
  return { name, sha256, tier, models, admin, expiresAt: expires && timestampMs(expires) };
}

/** `keySet` brings the issuer's keys. */
export function issuerFrom(jwt: JwtConfig, keySet: KeySet): Issuer {
  const { issuer, audience, algorithms, clockTolerance } = jwt;
  const claims = {
    name: jwt.nameClaim,
    namePrefix: jwt.namePrefix,
    tier: jwt.tierClaim,
    models: jwt.modelsClaim,
    admin: jwt.adminClaim,
    adminValue: jwt.adminValue,
  };
  return { issuer, audience, keySet, algorithms, clockToleranceMs: milliseconds(clockTolerance), claims };
}

const kindNames: Readonly<Record<number, ProviderKindName>> = {
  [ProviderKind.GEMINI]: 'gemini',
  [ProviderKind.GROQ]: 'groq',
  [ProviderKind.GITHUB_MODELS]: 'github_models',
  [ProviderKind.OLLAMA]: 'ollama',
  [ProviderKind.ANTHROPIC]: 'anthropic',
  [ProviderKind.OPENAI_COMPATIBLE]: 'openai_compatible',
  [ProviderKind.DEMO]: 'demo',
};

function kindNameOf(kind: ProviderKind): ProviderKindName {
  const name = kindNames[kind];
  if (name === undefined) throw new TypeError(`a provider is of the unknown kind ${kind}`);
  return name;
}

/** The names that providers have where nobody gives them another. */
export const kindsByName: ReadonlySet<string> = new Set(Object.values(kindNames));

/** `connectTimeoutMs` is for providers that have none of their own. */
export function providerFrom(
  provider: ProviderConfig,
  connectTimeoutMs: number,
  proxies: ProxySettings,
): ProviderSettings {
  const { name, kind, baseUrl, apiKey, apiKeys, defaultModel, headers, dropUnsupported, timeouts, limits } = provider;
  return {
    name,
    kind: kindNameOf(kind),
    baseUrl,
    apiKeys: apiKey === '' ? apiKeys : [apiKey],
    defaultModel,
    headers,
    dropUnsupported: dropUnsupported === DropUnsupported.DROP ? 'drop' : 'error',
    connectTimeoutMs: perhaps(timeouts?.connect) ?? connectTimeoutMs,
    // 0: no limit. HTTP/1.1 carries one call at a time on a connection; one more is for the question which models there are.
    maxConnections: limits?.maxConcurrent ? limits.maxConcurrent + 1 : undefined,
    proxies,
  };
}

export function modelFrom(model: ModelConfig): ConfiguredModel {
  const { id, provider, inputPrice, outputPrice, cachedInputPrice, contextWindow, quality } = model;
  const rates = { input: inputPrice, output: outputPrice, cachedInput: cachedInputPrice };
  return { id, provider, rates, contextWindow, quality };
}

/** Which list of published models holds for each provider, by name. */
export function listsFrom(config: Config): (provider: string) => ListName | undefined {
  const lists = new Map(config.providers.map(({ name, kind, baseUrl }) => [name, listFor(kindNameOf(kind), baseUrl)]));
  return (provider) => lists.get(provider);
}

export function routeFrom({ model, targets, timeouts, strategy }: RouteConfig): Route {
  return {
    model,
    targets,
    strategy: strategy || undefined,
    totalMs: perhaps(timeouts?.total),
    unaryMs: perhaps(timeouts?.attemptUnary),
    firstTokenMs: perhaps(timeouts?.firstToken),
    idleMs: perhaps(timeouts?.idle),
  };
}

/** How long answers are kept, and for whom, by route; undefined: they are not. */
export function cachePolicies({ cache, routes }: Config): (route: Route | undefined) => CachePolicy | undefined {
  const policyFrom = (own: RouteCacheConfig | undefined): CachePolicy | undefined => {
    if (!(own?.enabled ?? cache?.enabled)) return undefined;
    return { ttlMs: milliseconds(own?.ttl ?? cache?.ttl), shared: own?.shared ?? cache?.shared ?? false };
  };
  const ofRoute = new Map(routes.map((route) => [route.model, policyFrom(route.cache)]));
  const elsewhere = policyFrom(undefined);
  return (route) => (route ? ofRoute.get(route.model) : elsewhere);
}

/** Whether anything is cached anywhere. */
export function cachesAnything({ cache, routes }: Config): boolean {
  return cache?.enabled === true || routes.some((route) => route.cache?.enabled === true);
}

/** Classes of callers by tier, for when not all can be served: those who may do least are of class 0. */
export function callerRanks({ keys, jwt, limits }: Config): Map<string, number> {
  const present = new Set(keys.map(({ tier }) => tier));
  // Which tiers tokens name is known when they come.
  const tiers = limits?.tiers.filter(({ name }) => jwt.length > 0 || present.has(name)) ?? [];
  return ranksOf(tiers.map(({ name, capacity = 0 }) => ({ name, capacity })));
}

/** When calls are refused because there is too much to do. */
export function overloadSettings(config: Config): Omit<OverloadOptions, 'intoTurnMs' | 'random' | 'lateSamples'> {
  const { overload } = config;
  return {
    loopDelayMs: milliseconds(overload?.eventLoopDelay),
    stopCachingAt: overload?.stopCachingAt ?? 1,
    refuseAt: overload?.refuseAt ?? 1,
    ranks: 1 + Math.max(0, ...callerRanks(config).values()),
  };
}

/** Whole time of a call: what it asks for, but never more than the configuration allows. */
export function totalTime(config: Config, routes: readonly Route[]) {
  const unaryMs = milliseconds(config.timeouts?.totalUnary);
  const streamMs = milliseconds(config.timeouts?.totalStream);
  const nativeMs = milliseconds(config.timeouts?.totalNative);
  return ({ model, options }: Request, { streaming, door }: CallContext): number => {
    const ofRoute = routes.length === 0 ? undefined : routeOf(routes, model)?.totalMs;
    const most = ofRoute ?? (streaming ? streamMs : unaryMs);
    const asked = perhaps(options?.timeout);
    return Math.min(asked ?? ofRoute ?? (door === 'native' ? nativeMs : most), most);
  };
}

/** What is slow where the configuration does not say: half of what may be waited for. */
const SLOW_SHARE = 0.5;

/** Limits of an attempt: the route's, else the provider's, else the general ones. Equal ones are the same object. */
export function attemptLimits(config: Config) {
  const general = config.timeouts;
  const slowMs = perhaps(config.breaker?.slowCall);
  const made = new Map<string, AttemptLimits>();
  const ofProvider = new Map(
    config.providers.map(({ name, kind, timeouts }) => [
      name,
      {
        patient: kind === ProviderKind.OLLAMA,
        unaryMs: perhaps(timeouts?.attemptUnary),
        firstTokenMs: perhaps(timeouts?.firstToken),
        idleMs: perhaps(timeouts?.idle),
      },
    ]),
  );
  const unaryMs = milliseconds(general?.attemptUnary);
  const idleMs = milliseconds(general?.idle);
  const firstTokenMs = perhaps(general?.firstToken);
  return (provider: string, route: Route | undefined, request: Request): AttemptLimits => {
    const own = ofProvider.get(provider);
    const patient = own?.patient || ('reasoning' in request && request.reasoning !== undefined);
    const key = `${patient} ${provider} ${route?.model ?? ''}`;
    let limits = made.get(key);
    if (!limits) {
      const unary = route?.unaryMs ?? own?.unaryMs ?? unaryMs;
      const firstToken =
        route?.firstTokenMs ?? own?.firstTokenMs ?? firstTokenMs ?? (patient ? PATIENT_FIRST_TOKEN_MS : FIRST_TOKEN_MS);
      limits = {
        unaryMs: unary,
        firstTokenMs: firstToken,
        idleMs: route?.idleMs ?? own?.idleMs ?? idleMs,
        slowFirstTokenMs: slowMs ?? firstToken * SLOW_SHARE,
        slowUnaryMs: slowMs ?? unary * SLOW_SHARE,
      };
      made.set(key, limits);
    }
    return limits;
  };
}

/** How failing targets are judged, and retries held back. */
export function guardSettings({ breaker, retry, timeouts }: Config): GuardSettings {
  return {
    breaker: {
      windowMs: milliseconds(breaker?.window),
      minCalls: breaker?.minCalls ?? 0,
      failureRatio: breaker?.failureRatio ?? 0,
      slowCallRatio: breaker?.slowCallRatio ?? 0,
      openForMs: milliseconds(breaker?.openFor),
      maxOpenForMs: milliseconds(breaker?.maxOpenFor),
      halfOpenCalls: breaker?.halfOpenCalls ?? 0,
      trialMs: milliseconds(timeouts?.attemptUnary),
    },
    budgetRatio: retry?.budgetRatio ?? 0,
  };
}

/** How much each provider may be asked, by its name. */
export function providerLimits({ providers }: Config): (provider: string) => ProviderLimits {
  const limits = new Map(
    providers.map(({ name, limits: own }) => [
      name,
      {
        requestsPerMinute: own?.requestsPerMinute ?? 0,
        requestsPerSecond: own?.requestsPerSecond ?? 0,
        maxConcurrent: own?.maxConcurrent ?? 0,
      },
    ]),
  );
  return (provider) => limits.get(provider) ?? noLimits;
}

/** How a call is tried, hedged and held back: as its route says, else as the configuration does in general. */
export function callPolicies(config: Config) {
  const { retry } = config;
  const general = {
    attemptsPerTarget: retry?.attemptsPerTarget ?? 1,
    attempts: retry?.attempts ?? 1,
    baseDelayMs: milliseconds(retry?.baseDelay),
    maxDelayMs: milliseconds(retry?.maxDelay),
    waitWhenLimited: retry?.onRateLimit === OnRateLimit.WAIT,
  };
  const ofRoute = new Map(
    config.routes.map((route) => {
      const attempts = route.retry?.attempts ?? general.attempts;
      const attemptsPerTarget = route.retry?.attemptsPerTarget ?? Math.min(general.attemptsPerTarget, attempts);
      const hedgeAfterMs = perhaps(route.hedge?.delay);
      const buffered = route.guarantee === Guarantee.BUFFERED;
      return [route.model, { ...general, attempts, attemptsPerTarget, hedgeAfterMs, buffered }];
    }),
  );
  const elsewhere = { ...general, hedgeAfterMs: undefined, buffered: false };
  return (route: Route | undefined, request: Request): Omit<Plan, 'targets'> => {
    const policy = (route && ofRoute.get(route.model)) ?? elsewhere;
    const { guarantee = Guarantee.UNSPECIFIED } = request.options ?? {};
    const buffered = guarantee === Guarantee.UNSPECIFIED ? policy.buffered : guarantee === Guarantee.BUFFERED;
    // Several answers would all be made twice.
    const hedgeAfterMs = 'n' in request && (request.n ?? 1) > 1 ? undefined : policy.hedgeAfterMs;
    return { ...policy, buffered, hedgeAfterMs };
  };
}

const limitBys: Readonly<Record<number, LimitBy>> = {
  [LimitByWord.USER_ID]: 'user_id',
  [LimitByWord.KEY_AND_USER_ID]: 'key_and_user_id',
};

/** How much callers may do. */
export function limitsFrom({ limits, keys }: Config): Omit<CallLimitsOptions, 'reserveFor'> {
  const tiers = new Map<string, Tier>();
  for (const { name, capacity = 0, refillPerSecond = 0, tokensPerMinute = 0, maxConcurrent = 0 } of limits?.tiers ??
    []) {
    tiers.set(name, { name, capacity, refillPerSecond, tokensPerMinute, maxConcurrent });
  }
  const budgets = new Map<string, Budget>();
  for (const { name, budgetUsd: usd, budgetPeriod } of keys) {
    if (usd !== undefined) budgets.set(name, { usd, periodMs: milliseconds(budgetPeriod) });
  }
  const { requestsPerMinute = 0, requestsPerSecond = 0 } = limits?.global ?? {};
  return {
    tiers,
    limitBy: limitBys[limits?.limitBy ?? 0] ?? 'key',
    global: { requestsPerMinute, requestsPerSecond },
    budgets,
  };
}

const outagePolicies: Readonly<Record<number, OutagePolicy>> = {
  [OnOutage.CLOSED]: 'closed',
  [OnOutage.OPEN]: 'open',
};

/** Where what is kept between calls is kept. `leaseMs` is how long a call may hold what it does not renew. */
export function storesFrom({ state }: Config, leaseMs: number): StoreSettings {
  return {
    redisUrl: state?.redisUrl ?? '',
    keyPrefix: state?.keyPrefix ?? '',
    onOutage: outagePolicies[state?.onOutage ?? 0] ?? 'local',
    replicas: state?.replicas ?? 1,
    sqlitePath: state?.sqlitePath ?? '',
    leaseMs,
  };
}

/**
 * The keys that have a budget, and where the names that they may call lead.
 *
 * Names under a wildcard are known only when somebody calls them: calls without a known price are refused then.
 */
export function budgetedKeys(
  { keys, routes, providers }: Config,
  isPriced: (provider: string, model: string) => boolean,
): BudgetedKey[] {
  const defaults = new Map(providers.map(({ name, defaultModel }) => [name, defaultModel]));
  const named = routes.filter(({ model }) => !model.includes('*'));
  return keys
    .filter(({ budgetUsd }) => budgetUsd !== undefined)
    .map(({ name, models }) => {
      const targets = named.flatMap((route) =>
        route.targets.map((target) => {
          const model = target.model || (defaults.get(target.provider) ?? '');
          return { asked: route.model, provider: target.provider, model };
        }),
      );
      const permitted = targets.filter(({ asked, provider, model }) => {
        return models.length === 0 || isNamed(models, [asked, `${provider}/${model}`, model]);
      });
      const spelled = models
        .filter((pattern) => !routes.some(({ model }) => model === pattern))
        .flatMap((pattern) => targetSpelledOut(pattern, defaults));
      return {
        name,
        targets: [...permitted, ...spelled].map(({ provider, model }) => ({
          provider,
          model,
          priced: isPriced(provider, model),
        })),
      };
    });
}

/** The target that a pattern names itself, as `provider/model` without a wildcard. */
function targetSpelledOut(pattern: string, providers: ReadonlyMap<string, string>) {
  const [provider = '', ...rest] = pattern.split('/');
  const isOne = rest.length > 0 && providers.has(provider) && !pattern.includes('*');
  return isOne ? [{ provider, model: rest.join('/') }] : [];
}

function isNamed(patterns: readonly string[], names: readonly string[]): boolean {
  return patterns.some((pattern) => names.some((name) => fits(pattern, name)));
}

/** What providers are called in metrics and traces. */
export function providerNames(config: Config): ReadonlyMap<string, ProviderNames> {
  const names = new Map([['demo', namesWithin('demo')]]);
  for (const { name, kind, baseUrl, propagateTrace } of config.providers) {
    const url = URL.parse(baseUrl);
    const system = conventionalName(kindNameOf(kind), url?.hostname, name);
    names.set(name, {
      system,
      address: url?.hostname,
      port: url ? Number(url.port) || (url.protocol === 'https:' ? 443 : 80) : undefined,
      origin: url?.origin,
      tracePropagated: propagateTrace ?? true,
    });
  }
  return names;
}

/** Whether the configuration names a provider's model. */
export function namesModel({ providers, routes, models }: Config): (provider: string, model: string) => boolean {
  const defaults = new Map(providers.map(({ name, defaultModel }) => [name, defaultModel]));
  const named = new Set([
    ...[...defaults].map(([name, model]) => `${name}/${model}`),
    ...models.map(({ provider, id }) => `${provider}/${id}`),
    ...routes.flatMap(({ targets }) =>
      targets.map(({ provider, model }) => `${provider}/${model || defaults.get(provider)}`),
    ),
  ]);
  return (provider, model) => named.has(`${provider}/${model}`);
}

const strategyNames: Readonly<Record<number, string>> = {
  [RoutingStrategy.ROUND_ROBIN]: 'round_robin',
  [RoutingStrategy.LEAST_LATENCY]: 'least_latency',
  [RoutingStrategy.LOWEST_COST]: 'lowest_cost',
  [RoutingStrategy.HIGHEST_QUALITY]: 'highest_quality',
  [RoutingStrategy.RANDOM]: 'random',
  [RoutingStrategy.FAILOVER]: 'failover',
};

/** The word for a strategy, as configurations have it. */
export function strategyName(strategy: RoutingStrategy): string {
  return strategyNames[strategy] ?? 'failover';
}
