import type { MetricsSnapshot, ProviderTraffic, TimeSpread, Traffic } from '../../../gen/llmgateway/v1/metrics_pb.ts';
import { rfc3339, secondsOf } from './times.ts';

/** Metrics as `/metrics` shows them in JSON. Times are in seconds; what is not known is null. */
export function metricsJson(snapshot: MetricsSnapshot): object {
  const { time, uptime, windowMinutes, covered, calls, providers, process } = snapshot;
  const window = { window_minutes: windowMinutes, covered_seconds: covered ? secondsOf(covered) : 0 };
  const { response, traffic } = trafficJson(calls);
  return {
    timestamp: rfc3339(time),
    gateway_metrics: {
      uptime_seconds: uptime ? secondsOf(uptime) : 0,
      ...window,
      ...traffic,
      provider_distribution: Object.fromEntries(
        providers.map(({ provider, total }) => [provider, total?.requests ?? 0]),
      ),
      cache_hits: calls?.cacheHits ?? 0,
      cache_misses: calls?.cacheMisses ?? 0,
      cache_hit_rate: calls?.cacheHitRate ?? null,
      cache_saved_usd: calls?.savedUsd ?? 0,
      rate_limit_hits: calls?.reasons.rate_limited ?? 0,
      circuit_breaker_triggers: providers.reduce((sum, { total }) => sum + (total?.circuitsOpened ?? 0), 0),
    },
    provider_metrics: Object.fromEntries(
      providers.map((provider) => [
        provider.provider,
        { provider: provider.provider, ...window, ...providerJson(provider) },
      ]),
    ),
    avg_response_time: response.avg_response_time,
    requests_per_second: calls?.requestsPerSecond ?? 0,
    error_rate: calls?.errorRate ?? null,
    memory_usage_mb: (process?.memoryBytes ?? 0) / 1e6,
    cpu_usage_percent: process?.cpuPercent ?? 0,
    process: {
      heap_usage_mb: (process?.heapBytes ?? 0) / 1e6,
      event_loop_delay_mean: seconds(process?.eventLoopDelayMean),
      event_loop_delay_p99: seconds(process?.eventLoopDelayP99),
      event_loop_utilization: process?.eventLoopUtilization ?? 0,
      connections: process?.connections ?? 0,
      open_files: process?.openFiles ?? null,
      active_requests: process?.activeCalls ?? 0,
    },
  };
}

function providerJson({ total, models }: ProviderTraffic): object {
  return {
    ...trafficJson(total).traffic,
    models: Object.fromEntries(models.map(({ model, traffic }) => [model, trafficJson(traffic).traffic])),
  };
}

function trafficJson(of: Traffic | undefined): { traffic: object; response: { avg_response_time: number | null } } {
  const response = timesJson('response_time', of?.duration);
  const traffic = {
    total_requests: of?.requests ?? 0,
    successful_requests: of?.succeeded ?? 0,
    failed_requests: of?.failed ?? 0,
    refused_requests: of?.refused ?? 0,
    cancelled_requests: of?.cancelled ?? 0,
    success_rate: of?.successRate ?? null,
    error_rate: of?.errorRate ?? null,
    ...response,
    ...timesJson('first_token_time', of?.firstToken),
    requests_per_minute: of?.requestsPerMinute ?? 0,
    requests_per_second: of?.requestsPerSecond ?? 0,
    error_breakdown: of?.reasons ?? {},
    prompt_tokens: of?.promptTokens ?? 0,
    completion_tokens: of?.completionTokens ?? 0,
    cached_prompt_tokens: of?.cachedPromptTokens ?? 0,
    reasoning_tokens: of?.reasoningTokens ?? 0,
    cost_usd: of?.costUsd ?? 0,
    unpriced_requests: of?.unpriced ?? 0,
  };
  return { traffic, response: { avg_response_time: seconds(of?.duration?.mean) } };
}

function timesJson(name: string, spread: TimeSpread | undefined): Record<string, number | null> {
  return {
    [`avg_${name}`]: seconds(spread?.mean),
    [`min_${name}`]: seconds(spread?.min),
    [`max_${name}`]: seconds(spread?.max),
    [`p50_${name}`]: seconds(spread?.p50),
    [`p95_${name}`]: seconds(spread?.p95),
    [`p99_${name}`]: seconds(spread?.p99),
  };
}

function seconds(duration: TimeSpread['mean']): number | null {
  return duration ? secondsOf(duration) : null;
}
