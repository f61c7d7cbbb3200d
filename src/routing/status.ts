import { type GetHealthResponse, HealthStatus } from '../../gen/llmgateway/v1/health_service_pb.ts';
import {
  CircuitState,
  type Model,
  type Provider as ProviderMessage,
  type ProviderStatus,
} from '../../gen/llmgateway/v1/provider_pb.ts';
import type { Principal } from '../completion.ts';
import type { Provider } from '../providers/provider.ts';
import { durationOf, timestampOf } from '../time.ts';
import type { Catalogue, ModelFacts } from './catalogue.ts';
import type { Observations } from './observations.ts';
import { isPermitted, type Route } from './resolve.ts';

/** Some providers say a number of calls that means no limit. */
const maxUint32 = 0xffff_ffff;

/** How a provider stands with those who let calls pass to it. */
export interface Standing {
  /** The worst of its models. */
  readonly circuitState: CircuitState;
  readonly queueLength: number;
  /** Calls that it still takes in its present period; undefined: unknown. */
  readonly remaining: number | undefined;
  /** How long no call is sent to it because of a limit; 0: it is not limited. */
  readonly limitedForMs: number;
}

/** A provider and how it does, as it is told to callers. It is not healthy while no call may pass to one of its models. */
export function describeProvider(provider: Provider, observations: Observations, standing: Standing): ProviderMessage {
  const record = observations.of(provider.name);
  const { circuitState, queueLength, remaining, limitedForMs } = standing;
  const isAvailable = provider.unavailable === undefined;
  const status: ProviderStatus = {
    $typeName: 'llmgateway.v1.ProviderStatus',
    available: isAvailable,
    healthy: isAvailable && record.healthy && circuitState !== CircuitState.OPEN,
    errorRate: record.errorRate,
    lastError: record.lastErrorReason ?? '',
    circuitState,
    activeRequests: record.active,
    queueLength,
    unavailableReason: provider.unavailable ?? '',
    lastProbeError: record.lastProbeError ?? '',
  };
  if (record.latencyMs !== undefined) status.latency = durationOf(record.latencyMs);
  if (record.lastSuccess !== undefined) status.lastSuccessTime = timestampOf(record.lastSuccess);
  if (record.lastError !== undefined) status.lastErrorTime = timestampOf(record.lastError);
  if (record.lastProbe !== undefined) status.lastProbeTime = timestampOf(record.lastProbe);
  if (remaining !== undefined) status.rateLimitRemaining = Math.min(Math.floor(remaining), maxUint32);
  if (limitedForMs > 0) status.limitedFor = durationOf(limitedForMs);
  return {
    $typeName: 'llmgateway.v1.Provider',
    name: provider.name,
    kind: provider.kind,
    defaultModel: provider.defaultModel,
    status,
  };
}

/** What the overall judgement is made from. */
export interface HealthFacts {
  readonly version: string;
  readonly uptimeMs: number;
  readonly draining: boolean;
  readonly totalRequests: number;
  readonly providers: readonly ProviderMessage[];
  /** Names of the providers that somebody enabled; one that is on only by default and does not answer is not missed. */
  readonly enabled: ReadonlySet<string>;
}

/** Healthy with every enabled provider usable, degraded with some, unhealthy with none. */
export function judgeHealth(facts: HealthFacts): GetHealthResponse {
  const judged = facts.providers.filter(({ name, status }) => facts.enabled.has(name) || status?.available);
  const usable = judged.filter(({ status }) => status?.available && status.healthy);
  const status = facts.draining
    ? HealthStatus.DRAINING
    : usable.length === 0
      ? HealthStatus.UNHEALTHY
      : usable.length < judged.length
        ? HealthStatus.DEGRADED
        : HealthStatus.HEALTHY;
  return {
    $typeName: 'llmgateway.v1.GetHealthResponse',
    status,
    version: facts.version,
    uptime: durationOf(facts.uptimeMs),
    activeProviders: facts.providers.filter(({ status: s }) => s?.available).map(({ name }) => name),
    totalRequests: facts.totalRequests,
    providers: [...facts.providers],
  };
}

/** The models that a caller may name: aliases first, then by provider in the configured order. */
export function describeModels(
  routes: readonly Route[],
  providers: readonly Provider[],
  catalogue: Catalogue,
  principal: Principal,
): Model[] {
  const byName = new Map(providers.map((provider) => [provider.name, provider]));
  const aliases = routes
    .filter(({ model }) => !model.includes('*'))
    .filter(({ model, targets }) =>
      targets.some((target) => {
        const provider = byName.get(target.provider);
        return provider && isPermitted(principal, model, { provider, model: target.model || provider.defaultModel });
      }),
    )
    .map(({ model }) => describeModel({ id: model, provider: '' }, true));
  const listed = providers
    .filter(({ unavailable }) => unavailable === undefined)
    .flatMap((provider) =>
      [...catalogue.idsOf(provider)]
        .filter((id) => isPermitted(principal, id, { provider, model: id }))
        .map((id) => describeModel(catalogue.factsOf(provider.name, id), false)),
    );
  return [...aliases, ...listed];
}

function describeModel(facts: Pick<ModelFacts, 'id' | 'provider'> & Partial<ModelFacts>, alias: boolean): Model {
  const { id, provider, price, contextWindow, maxOutputTokens, capabilities, quality, ownedBy, created } = facts;
  const model: Model = {
    $typeName: 'llmgateway.v1.Model',
    id,
    provider,
    ownedBy: ownedBy ?? '',
    alias,
  };
  if (created !== undefined) model.createdAt = timestampOf(created * 1000);
  if (contextWindow !== undefined) model.contextWindow = contextWindow;
  if (price?.input !== undefined) model.inputPrice = price.input;
  if (price?.output !== undefined) model.outputPrice = price.output;
  if (price?.cachedInput !== undefined) model.cachedInputPrice = price.cachedInput;
  if (price?.cacheWrite !== undefined) model.cacheWritePrice = price.cacheWrite;
  if (quality !== undefined) model.quality = quality;
  if (maxOutputTokens !== undefined) model.maxOutputTokens = maxOutputTokens;
  if (capabilities) model.capabilities = { $typeName: 'llmgateway.v1.ModelCapabilities', ...capabilities };
  return model;
}
