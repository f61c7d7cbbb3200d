import type { OperationName } from './ended-call.ts';
import type { Metrics } from './metrics.ts';
import type { Counter, Histogram, Part } from './series.ts';

/** What the series of a target have in common. */
export interface SeriesLabels {
  readonly provider: string;
  readonly model: string;
  readonly system: string;
}

type CounterKey = Parameters<Metrics['counter']>[0];
type HistogramKey = Parameters<Metrics['histogram']>[0];

/** Where one operation at one target is counted. */
export class TargetSeries {
  readonly attempts: Part<Counter>;
  readonly skipped: Part<Counter>;
  readonly retries: Part<Counter>;
  readonly hedges: Part<Counter>;
  readonly cost: Part<Counter>;
  readonly unpriced: Part<Counter>;
  readonly tokens: Part<Counter>;
  readonly cacheSaved: Part<Counter>;
  readonly cacheSavedTime: Part<Counter>;
  readonly clientDuration: Part<Histogram>;
  readonly clientTokens: Part<Histogram>;
  readonly clientFirstChunk: Part<Histogram>;
  readonly clientPerChunk: Part<Histogram>;
  readonly serverDuration: Part<Histogram>;
  readonly serverFirstToken: Part<Histogram>;
  readonly serverPerToken: Part<Histogram>;

  constructor(metrics: Metrics, operation: OperationName, { provider, model, system }: SeriesLabels) {
    const counter = (key: CounterKey) => metrics.counter(key).under(provider, model);
    const histogram = (key: HistogramKey) => metrics.histogram(key).under(operation, system, provider, model);
    this.attempts = counter('attempts');
    this.skipped = counter('skipped');
    this.retries = counter('retries');
    this.hedges = counter('hedges');
    this.cost = counter('cost');
    this.unpriced = counter('unpriced');
    this.tokens = counter('tokens');
    this.cacheSaved = counter('cacheSaved');
    this.cacheSavedTime = counter('cacheSavedTime');
    this.clientDuration = histogram('clientDuration');
    this.clientTokens = histogram('clientTokens');
    this.clientFirstChunk = histogram('clientFirstChunk');
    this.clientPerChunk = histogram('clientPerChunk');
    this.serverDuration = histogram('serverDuration');
    this.serverFirstToken = histogram('serverFirstToken');
    this.serverPerToken = histogram('serverPerToken');
  }
}

/** Finds where operations at targets are counted; a target is known by its labels, one object for as long as they last. */
export class AllTargetSeries {
  readonly #metrics: Metrics;
  readonly #known = {
    chat: new WeakMap<SeriesLabels, TargetSeries>(),
    embeddings: new WeakMap<SeriesLabels, TargetSeries>(),
  };

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  of(operation: OperationName, labels: SeriesLabels): TargetSeries {
    const known = this.#known[operation];
    let series = known.get(labels);
    if (series === undefined) {
      series = new TargetSeries(this.#metrics, operation, labels);
      known.set(labels, series);
    }
    return series;
  }
}
