import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Observations, ProviderRecord } from '../../src/routing/observations.ts';
import type { Verdict } from '../../src/routing/target-record.ts';

const success: Verdict = { ok: true };
const failure: Verdict = { ok: false, reason: 'provider_unavailable' };
const minute = 60_000;

function recordAt() {
  const clock = { now: 1_000 };
  return { clock, record: new ProviderRecord(() => clock.now) };
}

describe('the record of a provider', () => {
  beforeEach(() => void vi.useFakeTimers({ now: 1_800_000_000_000, toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());

  it('is healthy before anything is known', () => {
    const { record } = recordAt();
    expect(record).toMatchObject({ errorRate: 0, healthy: true, lastSuccess: undefined, lastProbe: undefined });
  });

  it('is unhealthy from half of the attempts that fail', () => {
    const { record } = recordAt();
    for (const verdict of [success, success, failure]) record.end(verdict);
    expect(record.healthy).toBe(true);
    record.end(failure);
    expect(record).toMatchObject({ errorRate: 0.5, healthy: false, lastErrorReason: 'provider_unavailable' });
  });

  it('does not count attempts that say nothing of the provider', () => {
    const { record } = recordAt();
    record.end(failure);
    record.end('nothing');
    expect(record.errorRate).toBe(1);
    expect(record.lastSuccess).toBeUndefined();
  });

  // One 429 in two calls made a provider look ill that was only busy.
  it('does not take a limit for an illness, but tells it', () => {
    const record = new ProviderRecord();
    record.end({ ok: false, reason: 'provider_rate_limited' });
    record.end({ ok: false, reason: 'provider_quota' });
    expect(record).toMatchObject({ healthy: true, errorRate: 0, lastErrorReason: 'provider_quota' });
  });

  it('judges by the last 20 attempts', () => {
    const { record } = recordAt();
    for (let i = 0; i < 50; i++) record.end(failure);
    for (let i = 0; i < 19; i++) record.end(success);
    expect(record.errorRate).toBe(0.05);
    record.end(success);
    expect(record.errorRate).toBe(0);
  });

  it('judges by attempts of the last five minutes only, so that it does not stay unhealthy while nobody calls', () => {
    const { clock, record } = recordAt();
    record.end(failure);
    clock.now += 4 * minute;
    record.end(success);
    record.end(success);
    expect(record.errorRate).toBeCloseTo(1 / 3, 9);
    clock.now += minute;
    expect(record.errorRate).toBeCloseTo(1 / 3, 9);
    clock.now += 1;
    expect(record.errorRate).toBe(0);
    record.end(failure);
    record.end(failure);
    expect(record.healthy).toBe(false);
    clock.now += 5 * minute + 1;
    expect(record).toMatchObject({ errorRate: 0, healthy: true, lastErrorReason: 'provider_unavailable' });
  });

  it('is unhealthy after a failed probe until a probe goes well', () => {
    const { record } = recordAt();
    record.end(success);
    record.probed('provider_timeout');
    expect(record).toMatchObject({ healthy: false, lastProbe: Date.now(), lastProbeError: 'provider_timeout' });
    vi.advanceTimersByTime(1_000);
    record.probed(undefined);
    expect(record).toMatchObject({ healthy: true, lastProbe: Date.now(), lastProbeError: undefined });
  });

  it('is healthy again with the first success after a failed probe, which it still tells', () => {
    const { record } = recordAt();
    record.probed('provider_timeout');
    record.end('nothing');
    expect(record.healthy).toBe(false);
    record.end(success);
    expect(record).toMatchObject({ healthy: true, lastProbeError: 'provider_timeout' });
  });

  it('is not made healthy by a probe while calls fail', () => {
    const { record } = recordAt();
    record.end(failure);
    record.probed(undefined);
    expect(record.healthy).toBe(false);
  });

  it('tells when things last happened by the wall clock', () => {
    const { record } = recordAt();
    record.end(success);
    vi.advanceTimersByTime(7_000);
    record.end(failure);
    expect(record).toMatchObject({ lastSuccess: 1_800_000_000_000, lastError: 1_800_000_007_000 });
  });
});

describe('the record of a target', () => {
  const recordOfTarget = () => new Observations(() => 0).ofTarget('groq', 'big');

  it('tells streamed calls from whole ones', () => {
    const record = recordOfTarget();
    record.firstContent(100, true);
    expect(record.latencyMs(true)).toBe(100);
    expect(record.latencyMs(false)).toBeUndefined();
    record.firstContent(3_000, false);
    expect([record.latencyCost(true), record.latencyCost(false)]).toEqual([100, 3_000]);
  });

  it('weighs a target by all its calls under way', () => {
    const record = recordOfTarget();
    record.firstContent(100, true);
    record.begin(true);
    record.begin(false);
    expect(record.active).toBe(2);
    expect(record.latencyCost(true)).toBe(300);
    record.end(success, 100, true);
    expect(record.latencyCost(true)).toBe(200);
  });

  it('lets one call of a kind try it out, however many of the other kind are under way', () => {
    const record = recordOfTarget();
    record.begin(false);
    expect(record.latencyCost(true)).toBe(0);
    record.begin(true);
    expect(record.latencyCost(true)).toBeGreaterThan(1e9);
  });

  it('counts a failure against the latency, and what says nothing not at all', () => {
    const record = recordOfTarget();
    record.begin(true);
    record.end('nothing', 5_000, true);
    expect(record.latencyMs(true)).toBeUndefined();
    record.begin(true);
    record.end(failure, 2, true);
    expect(record.latencyMs(true)).toBe(1_000);
  });
});

describe('observations', () => {
  it('keep one record for each name', () => {
    const observations = new Observations();
    expect(observations.of('groq')).toBe(observations.of('groq'));
    expect(observations.ofTarget('groq', 'big')).toBe(observations.ofTarget('groq', 'big'));
    expect(observations.ofTarget('groq', 'big')).not.toBe(observations.ofTarget('groq', 'small'));
    expect(observations.ofTarget('groq', 'big')).not.toBe(observations.ofTarget('local', 'big'));
  });

  it('share their clock with their records', () => {
    const clock = { now: 0 };
    const observations = new Observations(() => clock.now);
    observations.of('groq').end(failure);
    observations.ofTarget('groq', 'big').firstContent(100, true);
    clock.now = 10 * minute;
    expect(observations.of('groq').errorRate).toBe(0);
    expect(observations.ofTarget('groq', 'big').latencyCost(true)).toBeLessThan(1);
  });

  it('tell an attempt to the records of its provider and of its target', () => {
    const observations = new Observations();
    const attempts = observations.attemptsAt('groq', 'big');
    attempts.begin(true);
    expect([observations.of('groq').active, observations.ofTarget('groq', 'big').active]).toEqual([1, 1]);
    attempts.firstContent(120, true);
    expect(observations.of('groq').latencyMs).toBe(120);
    expect(observations.ofTarget('groq', 'big').latencyMs(true)).toBe(120);
    attempts.end(failure, 500, true);
    expect(observations.of('groq')).toMatchObject({ active: 0, errorRate: 1 });
    expect(observations.ofTarget('groq', 'big').active).toBe(0);
    expect(observations.ofTarget('groq', 'big').latencyMs(true)).toBeGreaterThan(120);
  });

  it('forget the idle target that was not used for the longest time once there are a thousand', () => {
    const observations = new Observations();
    const [busy, used, unused] = ['busy', 'used', 'unused'].map((model) => observations.ofTarget('groq', model));
    busy?.begin(true);
    for (let i = 0; i < 997; i++) observations.ofTarget('groq', `made-up-${i}`);
    observations.ofTarget('groq', 'used');
    observations.ofTarget('groq', 'one too many');
    expect(observations.ofTarget('groq', 'busy')).toBe(busy);
    expect(observations.ofTarget('groq', 'used')).toBe(used);
    expect(observations.ofTarget('groq', 'unused')).not.toBe(unused);
  });

  it('forget a busy one where none is idle, and take what it still has to tell', () => {
    const observations = new Observations();
    const attempts = observations.attemptsAt('groq', 'first');
    attempts.begin(true);
    for (let i = 0; i < 1_000; i++) observations.ofTarget('groq', `busy-${i}`).begin(true);
    attempts.firstContent(50, true);
    attempts.end(success, 80, true);
    const record = observations.ofTarget('groq', 'first');
    expect([record.active, record.latencyMs(true)]).toEqual([0, 50]);
  });
});
