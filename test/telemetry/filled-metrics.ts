import { type Instrument, instruments, Metrics } from '../../src/telemetry/metrics.ts';

/** Metrics of which each has one series: 3 for a counter, 1.5 for a gauge, and one value of 0.3 in a histogram. */
export function filledMetrics(): Metrics {
  const metrics = new Metrics();
  for (const [key, { kind, labels }] of Object.entries(instruments) as [keyof typeof instruments, Instrument][]) {
    const values = labels.map((label, at) => `${label} ${at}`);
    if (kind === 'gauge') metrics.read(key as 'active', () => [[values, 1.5]]);
    else if (kind === 'counter')
      metrics
        .counter(key as 'requests')
        .at(...values)
        .add(3);
    else
      metrics
        .histogram(key as 'phases')
        .at(...values)
        .record(0.3);
  }
  return metrics;
}
