import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Exposition } from '../../src/telemetry/exposition.ts';
import { type Instrument, instruments, Metrics } from '../../src/telemetry/metrics.ts';
import { Counter, Family, Histogram } from '../../src/telemetry/series.ts';
import { filledMetrics } from './filled-metrics.ts';
import { readExposition, total } from './read-exposition.ts';

const all: [string, Instrument][] = Object.entries(instruments);

describe('the list of metrics', () => {
  it('has each name once', () => {
    const names = all.map(([, { name }]) => name);
    expect(names).toEqual([...new Set(names)]);
  });

  it.each(all)('describes %s in a sentence, with labels and rising buckets', (_key, instrument) => {
    const { name, description, labels, kind, boundaries } = instrument;
    expect(name).toMatch(/^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$/);
    expect(description).toMatch(/^[A-Z0-9].*\.$/);
    expect(labels).toEqual([...new Set(labels)]);
    expect(boundaries !== undefined).toBe(kind === 'histogram');
    expect(boundaries ?? []).toEqual([...(boundaries ?? [])].sort((one, other) => one - other));
  });

  it('is told in the docs, as it is', () => {
    const page = readFileSync(new URL('../../docs/observability.md', import.meta.url), 'utf8');
    for (const [, { name, kind, labels, description }] of all) {
      const row = page.split('\n').find((line) => line.startsWith(`| \`${name}\` |`));
      expect(row, name).toContain(`| ${kind} |`);
      expect(row).toContain(`| ${labels.map((label) => `\`${label}\``).join(' ')} | ${description} |`);
    }
  });

  it('has the names and buckets of the conventions', () => {
    const { clientDuration, clientTokens, serverFirstToken, serverPerToken, httpDuration, rpcDuration } = instruments;
    expect(clientDuration.boundaries[0]).toBe(0.01);
    expect(clientDuration.boundaries.at(-1)).toBe(81.92);
    expect(clientTokens.boundaries).toEqual(Array.from({ length: 14 }, (_, power) => 4 ** power));
    expect(serverFirstToken.boundaries).toHaveLength(16);
    expect(serverPerToken.boundaries).toHaveLength(13);
    expect([httpDuration.boundaries, rpcDuration.boundaries]).toEqual([
      httpDuration.boundaries,
      httpDuration.boundaries,
    ]);
    expect(all.map(([, { name }]) => name)).toEqual(
      expect.arrayContaining([
        'gen_ai.client.operation.duration',
        'gen_ai.client.token.usage',
        'rpc.server.call.duration',
      ]),
    );
  });
});

describe('the series of a metric', () => {
  it('are found by the values of the labels', () => {
    const family = new Family(() => new Counter());
    family.at('a', 'b').add(2);
    family.at('a', 'c').add();
    family.at('a', 'b').add();
    expect([...family.entries()].map(([values, { value }]) => [values, value])).toEqual([
      [['a', 'b'], 3],
      [['a', 'c'], 1],
    ]);
  });

  it('are one where there is no label', () => {
    const family = new Family(() => new Counter());
    family.at().add();
    family.at().add();
    expect([...family.entries()].map(([, { value }]) => value)).toEqual([2]);
  });

  it('are no more than 2,000; what comes later is counted in one of them', () => {
    const family = new Family(() => new Counter());
    for (let index = 0; index < 10_000; index++) family.at('same', `${index}`).add();
    for (let index = 0; index < 10_000; index++) family.at('same', `${index}`).add();
    const entries = [...family.entries()];
    expect(entries).toHaveLength(2000);
    expect(entries.at(-1)?.[0]).toBe('overflow');
    expect(entries.reduce((sum, [, { value }]) => sum + value, 0)).toBe(20_000);
    expect(entries[0]?.[1].value).toBe(2);
  });

  it('are found below the values of the first labels, and come to be only when they are', () => {
    const family = new Family(() => new Counter());
    const part = family.under('a');
    const whole = family.under('a', 'b');
    expect([...family.entries()]).toEqual([]);
    part.at('b').add();
    whole.at().add();
    part.at('c').add();
    expect([family.at('a', 'b').value, family.at('a', 'c').value]).toEqual([2, 1]);
  });

  it('are bounded below the values of the first labels, too', () => {
    const family = new Family(() => new Counter(), 3);
    const part = family.under('same');
    for (let index = 0; index < 10; index++) part.at(`${index}`).add();
    for (let index = 0; index < 10; index++) part.at(`${index}`).add();
    expect([...family.entries()].map(([values, { value }]) => [values, value])).toEqual([
      [['same', '0'], 2],
      [['same', '1'], 2],
      ['overflow', 16],
    ]);
  });

  it('count a value that is a boundary below it', () => {
    const histogram = new Histogram([1, 2]);
    for (const value of [0.5, 1, 1.5, 2, 3]) histogram.record(value);
    expect(histogram.buckets).toEqual([2, 2, 1]);
    expect([histogram.count, histogram.sum]).toEqual([5, 8]);
  });
});

describe('the exposition', () => {
  it('has every metric, its unit and its labels, in the words of Prometheus', async () => {
    const text = await new Exposition(filledMetrics(), '1.2.3').text();
    const samples = readExposition(text);
    for (const [, { kind, name, labels }] of all) {
      const base = name.replaceAll('.', '_');
      const shown = kind === 'counter' ? `${base}_total` : kind === 'histogram' ? `${base}_count` : base;
      const found = samples.filter((sample) => sample.name === shown);
      expect(found, shown).toHaveLength(1);
      expect(Object.keys(found[0]?.labels ?? {})).toEqual(labels.map((label) => label.replaceAll('.', '_')));
      expect(found[0]?.value).toBe(kind === 'counter' ? 3 : kind === 'histogram' ? 1 : 1.5);
    }
    expect(samples.find(({ name }) => name === 'target_info')?.labels).toMatchObject({
      service_name: 'llm-gateway',
      service_version: '1.2.3',
    });
  });

  it('has whole histograms', async () => {
    const metrics = new Metrics();
    for (const value of [0.005, 0.3, 100])
      metrics.histogram('clientDuration').at('chat', 'groq', 'groq', 'm', '').record(value);
    const samples = readExposition(await new Exposition(metrics, '0').text());
    const bucket = (le: string) => total(samples, 'gen_ai_client_operation_duration_bucket', { le });
    expect([bucket('0.01'), bucket('0.16'), bucket('0.32'), bucket('81.92'), bucket('+Inf')]).toEqual([1, 1, 2, 2, 3]);
    expect(total(samples, 'gen_ai_client_operation_duration_sum')).toBeCloseTo(100.305);
  });

  it('leaves out labels without a value, and escapes the others', async () => {
    const metrics = new Metrics();
    metrics.counter('attempts').at('a"b\\c\nd', 'm', 'ok', '').add();
    const text = await new Exposition(metrics, '0').text();
    expect(text).toContain(
      'gateway_attempts_total{gateway_provider="a\\"b\\\\c\\nd",gen_ai_request_model="m",gateway_outcome="ok"} 1\n',
    );
  });

  it('tells of the overflow', async () => {
    const metrics = new Metrics();
    for (let index = 0; index < 3000; index++) metrics.counter('limited').at('rate', `tier-${index}`).add();
    const samples = readExposition(await new Exposition(metrics, '0').text());
    expect(total(samples, 'gateway_limited_total', { otel_metric_overflow: 'true' })).toBe(1001);
  });

  it('goes on without a value that cannot be read', async () => {
    const metrics = filledMetrics();
    metrics.read('redisUp', () => {
      throw new Error('no');
    });
    const samples = readExposition(await new Exposition(metrics, '0').text());
    expect(samples.filter(({ name }) => name === 'gateway_redis_up')).toEqual([]);
    expect(samples.filter(({ name }) => name === 'gateway_circuit_state')).toHaveLength(1);
  });

  it('is served on a port of its own, where one is wanted', async () => {
    const port = await freePort();
    const exposition = new Exposition(filledMetrics(), '0');
    await exposition.serve({ host: '127.0.0.1', port });
    const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
    expect(readExposition(await answer.text()).length).toBeGreaterThan(100);
    await exposition.close();
    await expect(fetch(`http://127.0.0.1:${port}/metrics`)).rejects.toThrow();
  });

  it('says when that port is taken', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    const exposition = new Exposition(filledMetrics(), '0');
    await expect(exposition.serve({ host: '127.0.0.1', port })).rejects.toThrow('EADDRINUSE');
    await exposition.close();
    taken.close();
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
