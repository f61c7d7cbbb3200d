import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GatewayError, type GatewayErrorOptions, type Reason } from '../../src/errors.ts';
import { probeHealth, verdictOf } from '../../src/routing/health-probe.ts';

describe('probes', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('begin after one interval, and ask those who were not asked for half of one', async () => {
    const asked: number[] = [];
    const end = probeHealth({ intervalMs: 1_000, ask: async (ms) => void asked.push(ms), random: () => 0.5 });

    await vi.advanceTimersByTimeAsync(999);
    expect(asked).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(asked).toEqual([500]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(asked).toEqual([500, 500]);
    end();
  });

  it.each([
    [0, 900],
    [0.75, 1_050],
  ])('vary by a tenth: with %d after %d ms', async (random, afterMs) => {
    const ask = vi.fn(async () => {});
    const end = probeHealth({ intervalMs: 1_000, ask, random: () => random });

    await vi.advanceTimersByTimeAsync(afterMs - 1);
    expect(ask).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(ask).toHaveBeenCalled();
    end();
  });

  it('never overlap', async () => {
    const done: (() => void)[] = [];
    const ask = vi.fn(() => new Promise<void>((resolve) => void done.push(resolve)));
    const end = probeHealth({ intervalMs: 1_000, ask, random: () => 0.5 });

    await vi.advanceTimersByTimeAsync(5_000);
    expect(ask).toHaveBeenCalledTimes(1);
    done[0]?.();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(ask).toHaveBeenCalledTimes(2);
    end();
  });

  it('end, also within a round, and keep no process alive', async () => {
    let done = () => {};
    const ask = vi.fn(
      () =>
        new Promise<void>((resolve) => {
          done = resolve;
        }),
    );
    const end = probeHealth({ intervalMs: 1_000, ask, random: () => 0.5 });
    await vi.advanceTimersByTimeAsync(1_000);

    end();
    done();

    await vi.advanceTimersByTimeAsync(5_000);
    expect(ask).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('the verdict on a provider that was asked for its models', () => {
  const rows: [Reason, GatewayErrorOptions, Reason | undefined][] = [
    ['provider_unavailable', {}, 'provider_unavailable'],
    ['provider_unavailable', { unsent: true }, 'provider_unavailable'],
    ['provider_unavailable', { providerStatus: 503 }, 'provider_unavailable'],
    ['provider_unavailable', { providerStatus: 498 }, undefined],
    ['provider_timeout', {}, 'provider_timeout'],
    ['provider_timeout', { providerStatus: 408 }, undefined],
    ['provider_misconfigured', { providerStatus: 401 }, 'provider_misconfigured'],
    ['provider_misconfigured', { providerStatus: 403 }, 'provider_misconfigured'],
    ['provider_misconfigured', { providerStatus: 400 }, 'provider_misconfigured'],
    ['provider_misconfigured', {}, 'provider_misconfigured'],
    ['provider_misconfigured', { providerStatus: 404 }, undefined],
    ['provider_rejected', { providerStatus: 405 }, undefined],
    ['provider_rate_limited', { providerStatus: 429 }, undefined],
    ['provider_quota', { providerStatus: 402 }, undefined],
    ['provider_protocol', {}, undefined],
  ];

  it.each(rows)('after %s with %j is %s', (reason, options, verdict) => {
    expect(verdictOf(new GatewayError(reason, 'it fails', options))).toBe(verdict);
  });

  it('is nothing after an answer, and after the refusal of one key of several', () => {
    expect(verdictOf(undefined)).toBeUndefined();
    const error = new GatewayError('provider_misconfigured', 'bad key', { providerStatus: 401 });
    error.anotherKey = true;
    expect(verdictOf(error)).toBeUndefined();
  });

  it('is that it took too long once the time is up', async () => {
    const signal = AbortSignal.timeout(1);
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    expect(verdictOf(signal.reason)).toBe('provider_timeout');
  });
});
