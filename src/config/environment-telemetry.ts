import type { Findings } from './findings.ts';
import type { Environment } from './interpolate.ts';

/** What OpenTelemetry's standard variables ask for, as far as it decides what is started. The SDK reads the rest by itself. */
export interface TelemetryOfEnvironment {
  /** Whether somebody is named who takes traces. */
  readonly traces: boolean;
  /** Which of them are kept, in the words of the standard; undefined: by default. */
  readonly sampler?: { readonly name: string; readonly argument: string };
  /** Where Prometheus may come beside the gateway's own port; undefined: nowhere. */
  readonly prometheus?: { readonly host?: string; readonly port: number };
}

const PROMETHEUS_PORT = 9464;
/** Those whom the SDK can send spans to, as it spells them. */
const traceExporters = ['otlp', 'zipkin', 'console', 'none'];

/**
 * Read OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_TRACES_SAMPLER,
 * OTEL_TRACES_SAMPLER_ARG, OTEL_METRICS_EXPORTER, OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT.
 *
 * Without an exporter and an endpoint nothing is traced, though the standard has an endpoint of its own for then.
 *
 * @see https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export function readTelemetry(environment: Environment, findings: Findings): TelemetryOfEnvironment {
  if (environment.OTEL_SDK_DISABLED?.trim().toLowerCase() === 'true') return { traces: false };
  const exporters = readTraceExporters(environment, findings);
  const hasEndpoint = Boolean(
    environment.OTEL_EXPORTER_OTLP_ENDPOINT || environment.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
  );
  const traces = exporters.length > 0 ? !exporters.includes('none') : hasEndpoint;
  const prometheus = readPrometheus(environment, findings);
  const { OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: argument = '' } = environment;
  return { traces, ...(traces && name && { sampler: { name, argument } }), ...(prometheus && { prometheus }) };
}

/** With a name that it does not know the SDK starts without anybody to send to: spans are lost, and ids of traces are all zeros. */
function readTraceExporters({ OTEL_TRACES_EXPORTER: given }: Environment, findings: Findings): string[] {
  const exporters = listIn(given);
  const unknown = exporters.find((name) => !traceExporters.includes(name));
  if (unknown !== undefined) {
    const message = `must be of ${traceExporters.join(', ')}, not ${JSON.stringify(unknown)}`;
    findings.refuseVariable('OTEL_TRACES_EXPORTER', message);
  }
  return exporters;
}

function readPrometheus(environment: Environment, findings: Findings): TelemetryOfEnvironment['prometheus'] {
  const { OTEL_EXPORTER_PROMETHEUS_PORT: given, OTEL_EXPORTER_PROMETHEUS_HOST: host } = environment;
  const exporters = listIn(environment.OTEL_METRICS_EXPORTER?.toLowerCase());
  if (exporters.includes('none') || (!exporters.includes('prometheus') && !given)) return undefined;
  const port = given ? Number(given) : PROMETHEUS_PORT;
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    findings.refuseVariable(
      'OTEL_EXPORTER_PROMETHEUS_PORT',
      `must be a port from 1 to 65535, not ${JSON.stringify(given)}`,
    );
    return undefined;
  }
  return { ...(host && { host }), port };
}

function listIn(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}
