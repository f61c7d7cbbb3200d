import { describe, expect, it } from 'vitest';
import { ConfigError, loadConfig } from '../../src/config.ts';

const telemetryOf = (environment: Record<string, string>) => loadConfig({ environment }).telemetry;
const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' };

describe('traces', () => {
  it.each<[Record<string, string>, boolean]>([
    [{}, false],
    [endpoint, true],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://collector:4318/v1/traces' }, true],
    [{ OTEL_TRACES_EXPORTER: 'console' }, true],
    [{ OTEL_TRACES_EXPORTER: 'otlp' }, true],
    [{ OTEL_TRACES_EXPORTER: 'otlp, console' }, true],
    [{ OTEL_TRACES_EXPORTER: '' }, false],
    [{ ...endpoint, OTEL_TRACES_EXPORTER: 'none' }, false],
    [{ ...endpoint, OTEL_SDK_DISABLED: 'TRUE' }, false],
    [{ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://collector:4318' }, false],
  ])('with %j are sent: %s', (environment, traces) => {
    expect(telemetryOf(environment).traces).toBe(traces);
  });

  it('are kept as the sampler says, where there are any', () => {
    const sampler = { OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.01' };
    expect(telemetryOf({ ...endpoint, ...sampler }).sampler).toEqual({ name: 'traceidratio', argument: '0.01' });
    expect(telemetryOf({ ...endpoint, OTEL_TRACES_SAMPLER: 'always_off' }).sampler).toEqual({
      name: 'always_off',
      argument: '',
    });
    expect(telemetryOf(sampler)).toEqual({ traces: false });
    expect(telemetryOf(endpoint)).toEqual({ traces: true });
  });
});

describe('an exporter of traces', () => {
  it.each(['jaeger', 'OTLP', 'otlp,zipkn'])('cannot be %s', (exporter) => {
    try {
      telemetryOf({ OTEL_TRACES_EXPORTER: exporter });
      expect.unreachable();
    } catch (error) {
      expect((error as ConfigError).problems).toMatchObject([{ path: 'OTEL_TRACES_EXPORTER' }]);
      expect((error as ConfigError).problems[0]?.message).toContain(`not "${exporter.split(',').at(-1)}"`);
    }
  });
});

describe('a port for Prometheus', () => {
  it.each<[Record<string, string>, object | undefined]>([
    [{}, undefined],
    [{ OTEL_METRICS_EXPORTER: 'prometheus' }, { port: 9464 }],
    [{ OTEL_METRICS_EXPORTER: 'otlp, prometheus' }, { port: 9464 }],
    [{ OTEL_METRICS_EXPORTER: 'otlp' }, undefined],
    [
      { OTEL_EXPORTER_PROMETHEUS_PORT: '9500', OTEL_EXPORTER_PROMETHEUS_HOST: '0.0.0.0' },
      { host: '0.0.0.0', port: 9500 },
    ],
    [{ OTEL_EXPORTER_PROMETHEUS_PORT: '9500', OTEL_METRICS_EXPORTER: 'none' }, undefined],
    [{ OTEL_METRICS_EXPORTER: 'prometheus', OTEL_SDK_DISABLED: 'true' }, undefined],
  ])('with %j is %j', (environment, prometheus) => {
    expect(telemetryOf(environment).prometheus).toEqual(prometheus);
  });

  it.each(['0', '65536', 'x', '1.5'])('cannot be %s', (port) => {
    try {
      telemetryOf({ OTEL_EXPORTER_PROMETHEUS_PORT: port });
      expect.unreachable();
    } catch (error) {
      expect((error as ConfigError).problems.map(({ message }) => message).join()).toContain(`not "${port}"`);
      expect(error).toBeInstanceOf(ConfigError);
    }
  });
});
