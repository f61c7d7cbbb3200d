import { type HrTime, ValueType } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  type CollectionResult,
  type DataPoint,
  DataPointType,
  type MetricData,
  type MetricProducer,
  type Histogram as OpenTelemetryHistogram,
  type ScopeMetrics,
} from '@opentelemetry/sdk-metrics';
import { type Instrument, instruments, type MetricKey, type Metrics, type Series } from './metrics.ts';
import { type Histogram, type LabelValues, OVERFLOW_LABEL } from './series.ts';

/** Where more is counted. */
export interface MoreMetrics {
  metrics(): Promise<readonly ScopeMetrics[]>;
}

/**
 * Tells OpenTelemetry's exporters what the gateway has counted.
 *
 * This is how its SDK takes metrics that were not recorded through its own instruments.
 *
 * @see https://opentelemetry.io/docs/specs/otel/metrics/sdk/#metricproducer
 */
export class MetricSource implements MetricProducer {
  readonly #metrics: Metrics;
  readonly #resource: Resource;
  readonly #version: string;
  readonly #others: MoreMetrics | undefined;

  constructor(metrics: Metrics, resource: Resource, version: string, others?: MoreMetrics) {
    this.#metrics = metrics;
    this.#resource = resource;
    this.#version = version;
    this.#others = others;
  }

  async collect(): Promise<CollectionResult> {
    const errors: unknown[] = [];
    const startTime = timeOf(this.#metrics.since);
    const endTime = timeOf(Date.now());
    const collected = (Object.entries(instruments) as [MetricKey, Instrument][]).map(async ([key, instrument]) => {
      try {
        const data = metricData(instrument, await this.#metrics.valuesOf(key), startTime, endTime);
        return data.dataPoints.length > 0 ? [data] : [];
      } catch (error) {
        errors.push(error);
        return [];
      }
    });
    const metrics = (await Promise.all(collected)).flat();
    const scope = { name: 'llm-gateway', version: this.#version };
    const more = (await this.#others?.metrics()) ?? [];
    return { resourceMetrics: { resource: this.#resource, scopeMetrics: [{ scope, metrics }, ...more] }, errors };
  }
}

function metricData(instrument: Instrument, values: readonly Series[], startTime: HrTime, endTime: HrTime): MetricData {
  const { kind, name, unit, description, labels } = instrument;
  const common = {
    descriptor: { name, unit, description, valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
  const points = <Value>(read: (value: number | Histogram) => Value): DataPoint<Value>[] =>
    values.map(([of, value]) => ({ startTime, endTime, attributes: attributes(labels, of), value: read(value) }));
  if (kind === 'histogram') {
    const boundaries = [...(instrument.boundaries ?? [])];
    const dataPoints = points((value) => histogram(value as Histogram, boundaries));
    return { ...common, dataPointType: DataPointType.HISTOGRAM, dataPoints };
  }
  const dataPoints = points(Number);
  if (kind === 'gauge') return { ...common, dataPointType: DataPointType.GAUGE, dataPoints };
  return { ...common, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints };
}

function histogram({ count, sum, buckets }: Histogram, boundaries: number[]): OpenTelemetryHistogram {
  return { count, sum, buckets: { boundaries, counts: [...buckets] } };
}

function attributes(labels: readonly string[], values: LabelValues | 'overflow'): Record<string, string> {
  if (values === 'overflow') return { [OVERFLOW_LABEL]: 'true' };
  const pairs = labels.map((label, at) => [label, values[at] ?? ''] as const);
  return Object.fromEntries(pairs.filter(([, value]) => value !== ''));
}

function timeOf(ms: number): HrTime {
  return [Math.trunc(ms / 1000), Math.round((ms % 1000) * 1e6)];
}
