import type { Duration } from '@bufbuild/protobuf/wkt';
import type {
  MetricsSnapshot,
  ProcessStanding as ProcessMessage,
  ProviderTraffic,
  TimeSpread,
  Traffic,
} from '../../gen/llmgateway/v1/metrics_pb.ts';
import { durationOf, timestampOf } from '../time.ts';
import { openFiles, type ProcessStanding } from './process-standing.ts';
import type { Summary, Times, Window, Windows } from './windows.ts';

/** Where a snapshot is taken from. */
export interface SnapshotSources {
  readonly windows: Windows;
  readonly standing: ProcessStanding;
  /** Names of the configured providers, in order. */
  readonly providers: () => readonly string[];
  readonly connections: () => number;
  readonly activeCalls: () => number;
}

/** How the gateway did over the last minutes: all providers, or one. */
export function takeSnapshot(sources: SnapshotSources, windowMinutes: number, provider?: string): MetricsSnapshot {
  const { windows, providers } = sources;
  const window = windows.over(windowMinutes);
  const named = provider === undefined ? everybody(providers(), window) : [provider];
  return {
    $typeName: 'llmgateway.v1.MetricsSnapshot',
    time: timestampOf(Date.now()),
    uptime: durationOf(process.uptime() * 1000),
    windowMinutes,
    covered: durationOf(window.coveredMs),
    calls: traffic(window.calls(), window.coveredMs),
    providers: named.map((name) => providerTraffic(window, name)),
    process: processMessage(sources),
  };
}

/** The configured providers, and after them those that are gone but had attempts. */
function everybody(configured: readonly string[], { pairs }: Window): string[] {
  return [...new Set([...configured, ...pairs.map(({ provider }) => provider)])];
}

function providerTraffic(window: Window, provider: string): ProviderTraffic {
  const models = window.pairs.filter((pair) => pair.provider === provider);
  return {
    $typeName: 'llmgateway.v1.ProviderTraffic',
    provider,
    total: traffic(window.attempts(provider), window.coveredMs),
    models: models.map(({ model }) => ({
      $typeName: 'llmgateway.v1.ModelTraffic',
      model,
      traffic: traffic(window.attempts(provider, model), window.coveredMs),
    })),
  };
}

function traffic({ tally, duration, firstToken }: Summary, coveredMs: number): Traffic {
  const { requests, succeeded, failed, refused, cancelled, cacheHits, cacheMisses } = tally;
  const judged = succeeded + failed;
  const asked = cacheHits + cacheMisses;
  return {
    $typeName: 'llmgateway.v1.Traffic',
    requests,
    succeeded,
    failed,
    refused,
    cancelled,
    ...(judged > 0 && { successRate: succeeded / judged, errorRate: failed / judged }),
    requestsPerMinute: coveredMs > 0 ? requests / (coveredMs / 60_000) : 0,
    requestsPerSecond: coveredMs > 0 ? requests / (coveredMs / 1000) : 0,
    duration: spread(duration),
    firstToken: spread(firstToken),
    reasons: Object.fromEntries(tally.reasons),
    promptTokens: tally.promptTokens,
    completionTokens: tally.completionTokens,
    cachedPromptTokens: tally.cachedPromptTokens,
    reasoningTokens: tally.reasoningTokens,
    costUsd: tally.costUsd,
    unpriced: tally.unpriced,
    cacheHits,
    cacheMisses,
    ...(asked > 0 && { cacheHitRate: cacheHits / asked }),
    savedUsd: tally.savedUsd,
    circuitsOpened: tally.circuitsOpened,
  };
}

function spread({ count, mean, least, most, p50, p95, p99 }: Times): TimeSpread {
  const times: Record<string, number | undefined> = { mean, min: least, max: most, p50, p95, p99 };
  const known: Partial<Record<'mean' | 'min' | 'max' | 'p50' | 'p95' | 'p99', Duration>> = {};
  for (const [name, ms] of Object.entries(times)) if (ms !== undefined) known[name as 'mean'] = durationOf(ms);
  return { $typeName: 'llmgateway.v1.TimeSpread', count, ...known };
}

function processMessage({ standing, connections, activeCalls }: SnapshotSources): ProcessMessage {
  const { rss, heapUsed } = process.memoryUsage();
  const { meanMs, p99Ms } = standing.loopDelay;
  const open = openFiles();
  return {
    $typeName: 'llmgateway.v1.ProcessStanding',
    cpuPercent: standing.cpuPercent,
    memoryBytes: rss,
    heapBytes: heapUsed,
    eventLoopDelayMean: durationOf(meanMs),
    eventLoopDelayP99: durationOf(p99Ms),
    eventLoopUtilization: standing.loopUtilization,
    connections: connections(),
    ...(open !== undefined && { openFiles: open }),
    activeCalls: activeCalls(),
  };
}
