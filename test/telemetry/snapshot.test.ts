import { toJson } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from 'vitest';
import { MetricsSnapshotSchema } from '../../gen/llmgateway/v1/metrics_pb.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { ProcessStanding } from '../../src/telemetry/process-standing.ts';
import { takeSnapshot } from '../../src/telemetry/snapshot.ts';
import { Windows } from '../../src/telemetry/windows.ts';

const standings: ProcessStanding[] = [];
afterEach(() => {
  for (const standing of standings.splice(0)) standing.close();
});

function watch(): ProcessStanding {
  const standing = new ProcessStanding();
  standings.push(standing);
  return standing;
}

function sources() {
  const clock = { ms: 0 };
  const windows = new Windows(() => clock.ms);
  const providers = () => ['groq', 'gemini'];
  return { clock, windows, standing: watch(), providers, connections: () => 3, activeCalls: () => 2 };
}

function busyFor(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

describe('a snapshot', () => {
  it('has every configured provider, those that are gone, and their models', () => {
    const from = sources();
    from.windows.attempts('gemini', 'm2').add(0, { outcome: 'ok', durationMs: 100 });
    from.windows.attempts('gemini', 'm1').add(0, { outcome: 'error', reason: 'provider_timeout', durationMs: 100 });
    from.windows.attempts('gone', 'm').add(0, { outcome: 'ok', durationMs: 100 });
    from.clock.ms = 30_000;
    const { providers } = takeSnapshot(from, 60);
    expect(providers.map(({ provider, models }) => [provider, models.map(({ model }) => model)])).toEqual([
      ['groq', []],
      ['gemini', ['m1', 'm2']],
      ['gone', ['m']],
    ]);
    expect(providers[1]?.total).toMatchObject({
      requests: 2,
      successRate: 0.5,
      errorRate: 0.5,
      requestsPerMinute: 4,
      reasons: { provider_timeout: 1 },
      duration: { count: 1, p50: { nanos: 100_000_000 } },
    });
    expect(providers[1]?.total?.requestsPerSecond).toBeCloseTo(2 / 30);
  });

  it('of one provider has no other', () => {
    expect(takeSnapshot(sources(), 60, 'groq').providers.map(({ provider }) => provider)).toEqual(['groq']);
  });

  it('tells what the window really has', () => {
    const from = sources();
    from.clock.ms = 90 * 60_000 + 30_000;
    expect(takeSnapshot(from, 5)).toMatchObject({ windowMinutes: 5, covered: { seconds: 330n } });
    expect(takeSnapshot(from, 1440)).toMatchObject({ windowMinutes: 1440, covered: { seconds: 5430n } });
  });

  it('leaves unset what nothing is known of', () => {
    const { calls } = takeSnapshot(sources(), 60);
    expect(calls?.successRate).toBeUndefined();
    expect(calls?.cacheHitRate).toBeUndefined();
    expect(calls?.duration).toEqual({ $typeName: 'llmgateway.v1.TimeSpread', count: 0 });
  });

  it('can be encoded', () => {
    const from = sources();
    for (let index = 1; index < 100; index++)
      from.windows.calls.add(0, { outcome: 'ok', durationMs: index / 7, cached: index % 2 === 0 });
    expect(toJson(MetricsSnapshotSchema, takeSnapshot(from, 60))).toMatchObject({
      process: { connections: 3, activeCalls: 2 },
    });
  });
});

describe('the standing of the process', () => {
  it('tells of a processor that is busy, and of timers that are late for it', async () => {
    const standing = watch();
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (let round = 0; round < 3; round++) {
      busyFor(120);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    standing.sample();
    expect(standing.cpuPercent).toBeGreaterThan(20);
    expect(standing.loopUtilization).toBeGreaterThan(0.3);
    expect(standing.loopDelay.p99Ms).toBeGreaterThan(50);
    expect(standing.loopDelay.p99Ms).toBeLessThan(1000);
  });

  it('takes what a timer has to wait anyway for no delay', async () => {
    // On a machine that has much to do timers are late indeed: once they are not is enough.
    const meanMs = async () => {
      const standing = watch();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return standing.loopDelay.meanMs;
    };
    await expect.poll(meanMs, { timeout: 10_000 }).toBeLessThan(10);
  });

  it('is read by the metrics', async () => {
    const metrics = new Metrics();
    watch().tell(metrics);
    const value = async (key: 'memory' | 'heap' | 'uptime' | 'openFiles') =>
      Number((await metrics.valuesOf(key))[0]?.[1]);
    expect(await value('memory')).toBeGreaterThan(10 * 2 ** 20);
    expect(await value('heap')).toBeGreaterThan(2 ** 20);
    expect(await value('uptime')).toBeGreaterThan(0);
    if (process.platform === 'linux') expect(await value('openFiles')).toBeGreaterThan(3);
    expect((await metrics.valuesOf('cpuTime')).map(([mode]) => mode)).toEqual([['user'], ['system']]);
  });
});
