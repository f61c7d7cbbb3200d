import { diag } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { MetricSource, type MoreMetrics } from './metric-data.ts';
import type { Metrics } from './metrics.ts';

// Loaded when somebody asks for metrics first: it brings 20 MB of OpenTelemetry's SDK.

/** Where Prometheus may come, beside our own port. */
export interface ScrapePort {
  readonly host?: string;
  readonly port: number;
}

/** Metrics as Prometheus reads them. */
export class Exposition {
  readonly #source: MetricSource;
  readonly #serializer = new PrometheusSerializer(undefined, false, undefined, false, true);
  #exporter: PrometheusExporter | undefined;

  /** `others` counts what is not ours. */
  constructor(metrics: Metrics, version: string, others?: MoreMetrics) {
    const own = resourceFromAttributes({ 'service.name': 'llm-gateway', 'service.version': version });
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before.
    const resource = defaultResource()
      .merge(own)
      .merge(detectResources({ detectors: [envDetector] }));
    this.#source = new MetricSource(metrics, resource, version, others);
  }

  async text(): Promise<string> {
    const { resourceMetrics, errors } = await this.#source.collect();
    for (const error of errors) diag.error('a metric could not be read', error);
    return this.#serializer.serialize(resourceMetrics);
  }

  /** Serve them on a port of their own, without a key; resolves once it listens. */
  async serve({ host, port }: ScrapePort): Promise<void> {
    const exporter = new PrometheusExporter({
      ...(host !== undefined && { host }),
      port,
      withoutScopeInfo: true,
      preventServerStart: true,
    });
    exporter.setMetricProducer(this.#source);
    this.#exporter = exporter;
    await exporter.startServer();
  }

  async close(): Promise<void> {
    await this.#exporter?.shutdown();
  }
}
