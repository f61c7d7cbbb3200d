import { RoutingStrategy, type Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { costOf, type Price } from '../providers/target.ts';
import type { Need } from './need.ts';
import type { Turn } from './turn.ts';

/** What strategies look at of a target. */
export interface Rated {
  readonly provider: { readonly name: string };
  readonly model: string;
  /** Its share under `random` and `round_robin`. */
  readonly weight: number;
  /** The higher, the better; undefined: unknown. */
  readonly quality: number | undefined;
  readonly priceOf: (answered: string) => Price | undefined;
  readonly maxOutputTokens: number | undefined;
}

/** What strategies look at beside the targets; asked only by those that use it. */
export interface Sight<T> {
  /** What one more call costs at a target, as its latency and its calls in flight have it. */
  latencyCost(target: T): number;
  need(): Need;
  /** From 0 to 1, without 1. */
  random(): number;
  /** Of the group that the targets are of. */
  readonly turn: Turn;
}

type Strategy = <T extends Rated>(targets: readonly T[], sight: Sight<T>) => readonly T[];

/** As many tokens are reckoned with where the request leaves the length of its answer open; a model may allow less. */
const usualOutputTokens = 1_024;

const strategies: Readonly<Record<number, Strategy>> = {
  [RoutingStrategy.ROUND_ROBIN]: roundRobin,
  [RoutingStrategy.LEAST_LATENCY]: leastLatency,
  [RoutingStrategy.LOWEST_COST]: lowestCost,
  [RoutingStrategy.HIGHEST_QUALITY]: highestQuality,
  [RoutingStrategy.RANDOM]: weightedRandom,
};

/**
 * The targets in the order in which a strategy would have them tried.
 *
 * As given under `failover`, and where there is nothing to choose. Each call under a strategy that takes turns takes one.
 */
export function order<T extends Rated>(
  strategy: RoutingStrategy,
  targets: readonly T[],
  sight: Sight<T>,
): readonly T[] {
  if (targets.length < 2) return targets;
  return strategies[strategy]?.(targets, sight) ?? targets;
}

function roundRobin<T extends Rated>(targets: readonly T[], { turn }: Sight<T>): readonly T[] {
  return turn.next(targets);
}

/** Those that are equally quick take turns, so that targets nobody has called yet do not all wait behind the first. */
function leastLatency<T extends Rated>(targets: readonly T[], { latencyCost, turn }: Sight<T>): readonly T[] {
  const rated = targets.map((target) => ({ target, cost: latencyCost(target) })).sort((a, b) => a.cost - b.cost);
  const ordered = rated.map(({ target }) => target);
  const slower = rated.findIndex(({ cost }) => cost !== rated[0]?.cost);
  if (slower === 1) return ordered;
  if (slower === -1) return turn.next(targets);
  return [...turn.next(ordered.slice(0, slower)), ...ordered.slice(slower)];
}

function lowestCost<T extends Rated>(targets: readonly T[], sight: Sight<T>): readonly T[] {
  const need = sight.need();
  return ascending(targets, (target) => estimatedUsd(target, need));
}

function highestQuality<T extends Rated>(targets: readonly T[]): readonly T[] {
  return ascending(targets, ({ quality }) => quality && -quality);
}

/**
 * At random by weight, without replacement: the next one is always drawn by the weights of those that are left.
 *
 * Each waits an exponential time at the rate of its weight, and the order of their arrival is that of the draws. It is the
 * method of Efraimidis and Spirakis, in logarithms: https://doi.org/10.1016/j.ipl.2005.11.003
 * Those without weight come last, unless there are no others.
 */
function weightedRandom<T extends Rated>(targets: readonly T[], { random }: Sight<T>): readonly T[] {
  const weightless = targets.every(({ weight }) => weight === 0);
  return ascending(targets, ({ weight }) => {
    const effective = weightless ? 1 : weight;
    return effective === 0 ? undefined : -Math.log(1 - random()) / effective;
  });
}

/** By a number, the smallest first and the unknown last; equal ones stay as they are. */
function ascending<T>(targets: readonly T[], rate: (target: T) => number | undefined): readonly T[] {
  return targets
    .map((target) => ({ target, value: rate(target) ?? Number.POSITIVE_INFINITY }))
    .sort((a, b) => Number(a.value > b.value) - Number(a.value < b.value))
    .map(({ target }) => target);
}

/**
 * What a request is expected to cost at a target, in USD; undefined: its price is unknown.
 *
 * The prompt is paid once, each answer as long as it may be. Without a wish for the length of the answer it is a usual one:
 * models allow far more than they write, and their maxima would decide instead of their prices.
 */
export function estimatedUsd(
  target: Pick<Rated, 'model' | 'priceOf' | 'maxOutputTokens'>,
  need: Need,
): number | undefined {
  const { promptTokens, n } = need;
  const outputTokens = need.outputTokens ?? Math.min(usualOutputTokens, target.maxOutputTokens ?? usualOutputTokens);
  const completionTokens = n * outputTokens;
  const totalTokens = promptTokens + completionTokens;
  const usage: Usage = {
    $typeName: 'llmgateway.v1.Usage',
    promptTokens,
    completionTokens,
    totalTokens,
    estimated: true,
  };
  return costOf(usage, target.priceOf(target.model))?.totalUsd;
}
