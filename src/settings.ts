import { type Duration, durationMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { type CompletionRequest, Guarantee } from '../gen/llmgateway/v1/completion_pb.ts';
import {
  type Config,
  DropUnsupported,
  type JwtConfig,
  type KeyConfig,
  type ModelConfig,
  OnRateLimit,
  type ProviderConfig,
  ProviderKind,
  type RouteConfig,
} from '../gen/llmgateway/v1/config_pb.ts';
import type { EmbeddingRequest } from '../gen/llmgateway/v1/embedding_service_pb.ts';
import type { KnownKey } from './admission/authenticate.ts';
import type { KeySet } from './admission/key-set.ts';
import type { Issuer } from './admission/tokens.ts';
import type { Plan } from './attempt/first-to-commit.ts';
import { noLimits, type ProviderLimits } from './attempt/provider-guard.ts';
import type { GuardSettings } from './attempt/target-guard.ts';
import type { CallContext } from './completion.ts';
import type { LoadedConfig } from './config.ts';
import type { ProxySettings } from './providers/proxy.ts';
import type { ProviderKindName, ProviderSettings } from './providers/registry.ts';
import type { AttemptLimits } from './providers/target.ts';
import type { ConfiguredModel } from './routing/catalogue.ts';
import { type ListName, listFor } from './routing/published-models.ts';
import { type Route, routeOf } from './routing/resolve.ts';

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
    // 0: no limit. HTTP/1.1 carries one call at a time on a connection.
    maxConnections: limits?.maxConcurrent || undefined,
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
