import { CircuitState, type Provider, type ProviderStatus } from '../../../gen/llmgateway/v1/provider_pb.ts';
import { rfc3339, secondsOf } from './times.ts';

/** The words for states of breakers. */
export const circuitStates: Readonly<Record<CircuitState, string>> = {
  [CircuitState.UNSPECIFIED]: 'closed',
  [CircuitState.CLOSED]: 'closed',
  [CircuitState.OPEN]: 'open',
  [CircuitState.HALF_OPEN]: 'half_open',
};

/** Providers as `/health` and `/providers` show them: name to status. */
export function providersJson(providers: readonly Provider[]): Record<string, object> {
  return Object.fromEntries(providers.map((provider) => [provider.name, providerJson(provider)]));
}

function providerJson({ kind, defaultModel, status }: Provider): object {
  return { ...(status && statusJson(status)), kind, default_model: defaultModel || null };
}

function statusJson(status: ProviderStatus): object {
  return {
    available: status.available,
    healthy: status.healthy,
    latency_ms: status.latency ? secondsOf(status.latency) * 1000 : null,
    error_rate: status.errorRate,
    last_success: rfc3339(status.lastSuccessTime),
    last_error: rfc3339(status.lastErrorTime),
    last_error_reason: status.lastError || null,
    circuit_breaker_open: status.circuitState === CircuitState.OPEN,
    circuit_breaker_state: circuitStates[status.circuitState],
    active_requests: status.activeRequests,
    queue_length: status.queueLength,
    rate_limit_remaining: status.rateLimitRemaining ?? null,
    limited_for: status.limitedFor ? secondsOf(status.limitedFor) : null,
    last_probe: rfc3339(status.lastProbeTime),
    last_probe_error: status.lastProbeError || null,
    unavailable_reason: status.unavailableReason || null,
  };
}
