import { describe, expect, it } from 'vitest';
import { failureOf, reasonOf } from '../../src/attempt/failure.ts';
import type { Refusal } from '../../src/attempt/target-guard.ts';
import { GatewayError, type GatewayErrorOptions, type Reason } from '../../src/errors.ts';
import { scripted, targetOf } from './fake-provider.ts';

const error = (reason: Reason, options: GatewayErrorOptions = {}) => new GatewayError(reason, reason, options);

function refused(name: string, why: Refusal['why'], retryAfterMs?: number) {
  return { target: targetOf(scripted(name, [])), refusal: { why, retryAfterMs, busy: false, words: `${why} here` } };
}

describe('what a call fails with', () => {
  it('is the first cause', () => {
    const failure = failureOf([error('provider_timeout'), error('provider_unavailable')], []);
    expect(failure.reason).toBe('provider_timeout');
  });

  // A client that reads 400 does not come back, though one that was only closed could have taken the request.
  it('is a target that cannot take the request only where nothing else failed or was closed', () => {
    const unable = error('provider_rejected', { unsupported: true });
    expect(failureOf([unable, error('provider_unavailable')], []).reason).toBe('provider_unavailable');
    expect(failureOf([unable], []).reason).toBe('provider_rejected');
    expect(failureOf([unable], [refused('a', 'circuit_open', 10)]).reason).toBe('no_provider_available');
  });

  it('tells the soonest hope of those that failed and of those that could not be asked', () => {
    const failed = [error('provider_rate_limited', { retryAfterMs: 7_000 }), error('provider_unavailable')];
    expect(failureOf(failed, []).retryAfterMs).toBe(7_000);
    expect(failureOf(failed, [refused('a', 'circuit_open', 3_000)]).retryAfterMs).toBe(3_000);
    expect(failureOf([error('provider_timeout')], [refused('a', 'circuit_open')]).retryAfterMs).toBeUndefined();
  });

  it.each([
    ['limited where all are', ['rate_limited', 'rate_limited'], 'provider_rate_limited', 429],
    ['no provider where all breakers are open', ['circuit_open', 'circuit_open'], 'no_provider_available', 503],
    ['no provider where some are', ['rate_limited', 'circuit_open'], 'no_provider_available', 503],
  ] as const)('is %s', (_, whys, reason, status) => {
    const failure = failureOf(
      [],
      whys.map((why, at) => refused(`p${at}`, why, 1_000 + at)),
    );
    expect([failure.reason, failure.row.httpStatus, failure.retryAfterMs]).toEqual([reason, status, 1_000]);
    expect(failure.message).toBe(
      `no provider can take this call now: p0/p0-model: ${whys[0]} here; p1/p1-model: ${whys[1]} here`,
    );
  });

  it('names five targets at most', () => {
    const many = Array.from({ length: 7 }, (_, at) => refused(`p${at}`, 'circuit_open'));
    expect(failureOf([], many).message).toMatch(/p4\/p4-model: circuit_open here; and 2 more$/);
  });

  it('names the provider where it is the only one', () => {
    expect(failureOf([], [refused('a', 'circuit_open')]).provider).toBe('a');
    expect(failureOf([], [refused('a', 'circuit_open'), refused('b', 'circuit_open')]).provider).toBeUndefined();
  });

  it('is no provider where there is no target', () => {
    expect(failureOf([], []).reason).toBe('no_provider_available');
  });
});

it('a target that could not be asked was limited, or not available', () => {
  expect(reasonOf(refused('a', 'rate_limited').refusal)).toBe('provider_rate_limited');
  expect(reasonOf(refused('a', 'circuit_open').refusal)).toBe('no_provider_available');
});
