import type { BudgetStatus } from '../../gen/llmgateway/v1/usage_pb.ts';
import type { CacheCounts } from './cache-counts.ts';
import type { Metrics, Reading } from './metrics.ts';

/** Where it is kept what outlasts calls. */
export interface StoreSources {
  /** Whether Redis answers, by what it is used for; undefined: there is none. */
  readonly redisUp: (() => Readonly<Record<string, boolean>>) | undefined;
  readonly budgets: () => Promise<readonly BudgetStatus[]>;
  readonly cacheCounts: CacheCounts;
  /** The response cache in memory; undefined: answers are elsewhere. */
  readonly memoryCache: { readonly count: number; readonly bytes: number; readonly evicted: number } | undefined;
}

/** Have the metrics read how the stores do. */
export function readStores(metrics: Metrics, sources: StoreSources): void {
  const { redisUp, budgets, cacheCounts, memoryCache } = sources;
  if (redisUp) metrics.read('redisUp', () => Object.entries(redisUp()).map(([use, up]) => [[use], up ? 1 : 0]));
  // Of a budget of nothing nothing is left.
  const share = ({ spentUsd, budgetUsd }: BudgetStatus) => (budgetUsd === 0 ? 1 : spentUsd / budgetUsd);
  metrics.read('budgetUsed', async () => (await budgets()).map((status): Reading => [[status.key], share(status)]));
  metrics.read('cacheStored', () => [[[], cacheCounts.stored]]);
  metrics.read('cacheFailures', () => [[[], cacheCounts.storeFailures]]);
  if (memoryCache === undefined) return;
  metrics.read('cacheBytes', () => [[[], memoryCache.bytes]]);
  metrics.read('cacheEntries', () => [[[], memoryCache.count]]);
  metrics.read('cacheEvicted', () => [[[], memoryCache.evicted]]);
}

/** Time the commands to Redis, by what it is used for. */
export function timeCommands(metrics: Metrics) {
  const durations = metrics.histogram('redisDuration');
  return (use: string, command: string, durationMs: number, failed: boolean): void =>
    durations.at(use, command, failed ? 'away' : '').record(durationMs / 1000);
}
