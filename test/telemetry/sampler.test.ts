import { ROOT_CONTEXT, SpanKind, TraceFlags, trace } from '@opentelemetry/api';
import { type Sampler, SamplingDecision } from '@opentelemetry/sdk-trace';
import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { samplerFrom, TraceIds } from '../../src/telemetry/sampler.ts';

function sampler(name?: string, argument = '') {
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => lines.push(line) });
  return { sampler: samplerFrom(name === undefined ? undefined : { name, argument }, log), lines };
}

/** Whether a trace is kept; `parent`: what its caller has decided. */
function keeps(from: Sampler, traceId = new TraceIds().generateTraceId(), parent?: boolean): boolean {
  const within =
    parent === undefined
      ? ROOT_CONTEXT
      : trace.setSpanContext(ROOT_CONTEXT, {
          traceId,
          spanId: '00f067aa0ba902b7',
          isRemote: true,
          traceFlags: parent ? TraceFlags.SAMPLED : TraceFlags.NONE,
        });
  return from.shouldSample(within, traceId, 'call', SpanKind.SERVER, {}, []).decision !== SamplingDecision.NOT_RECORD;
}

describe('the sampler', () => {
  it.each([
    [undefined, { alone: true, left: false, kept: true }],
    ['always_on', { alone: true, left: true, kept: true }],
    ['always_off', { alone: false, left: false, kept: false }],
    ['parentbased_always_on', { alone: true, left: false, kept: true }],
    ['parentbased_always_off', { alone: false, left: false, kept: true }],
  ])('%s keeps what the specification says', (name, { alone, left, kept }) => {
    const { sampler: made, lines } = sampler(name);
    expect(keeps(made)).toBe(alone);
    expect(keeps(made, undefined, false)).toBe(left);
    expect(keeps(made, undefined, true)).toBe(kept);
    expect(lines).toEqual([]);
  });

  it('keeps the share that it is told, and of one trace all or nothing', () => {
    const { sampler: made } = sampler('traceidratio', '0.25');
    const ids = new TraceIds();
    const all = Array.from({ length: 4000 }, () => ids.generateTraceId());
    const kept = all.filter((id) => keeps(made, id));
    // Within five standard deviations.
    expect(Math.abs(kept.length - 1000)).toBeLessThan(137);
    expect(kept.every((id) => keeps(made, id))).toBe(true);
    expect(keeps(sampler('parentbased_traceidratio', '0').sampler, undefined, true)).toBe(true);
    expect(keeps(sampler('parentbased_traceidratio', '0').sampler)).toBe(false);
  });

  it.each([
    ['traceidratio', '2', 'OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, not "2"'],
    ['traceidratio', 'much', 'OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, not "much"'],
    ['traceidratio', '', 'OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, not ""'],
    ['sometimes', '', 'OTEL_TRACES_SAMPLER has the unknown value "sometimes"'],
  ])('%s with "%s" keeps all, and says why', (name, argument, complaint) => {
    const { sampler: made, lines } = sampler(name, argument);
    expect(keeps(made)).toBe(true);
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ complaint, msg: 'all is traced' });
  });
});

describe('ids', () => {
  it('are those of W3C’s headers, and all different', () => {
    const ids = new TraceIds();
    const made = Array.from({ length: 1000 }, () => ids.generateTraceId());
    expect(new Set(made).size).toBe(1000);
    for (const id of made) expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(ids.generateSpanId()).toMatch(/^[0-9a-f]{16}$/);
  });

  it('are what was decided on, once', () => {
    const ids = new TraceIds();
    ids.decided = 'a'.repeat(32);
    expect(ids.generateTraceId()).toBe('a'.repeat(32));
    expect(ids.generateTraceId()).not.toBe('a'.repeat(32));
  });
});
