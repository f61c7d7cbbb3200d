import { describe, expect, it } from 'vitest';
import type { Limit, Standing } from '../../src/store/store.ts';
import { limitHeaders } from '../../src/transport/limit-headers.ts';

const subject = 'key:a';
const requests: Limit = { kind: 'requests', subject, name: 'requests', capacity: 100, refillPerMs: 0.001, amount: 1 };
const tokens: Limit = { kind: 'tokens', subject, name: 'tokens', capacity: 90_000, refillPerMs: 1.5, amount: 500 };
const slots: Limit = { kind: 'concurrent', subject, name: 'concurrent', capacity: 5, amount: 1 };
const budget: Limit = { kind: 'budget', subject, name: 'budget', capacity: 50e9, periodMs: 2_592_000_000, amount: 1e7 };
const never = Number.POSITIVE_INFINITY;

function at(limit: Limit, remaining: number, resetMs: number): Standing {
  return { limit, remaining, resetMs };
}

describe('the headers of limits', () => {
  it('tell policies and standings as the draft has them, and requests and tokens as OpenAI does', () => {
    const limits = [
      at(requests, 98.7, 1300),
      at(slots, 4, never),
      at(tokens, 89_500, 333.4),
      at(budget, 12_345_678_999, 86_400_000),
    ];
    expect(limitHeaders({ limits })).toEqual({
      'ratelimit-policy':
        '"requests";q=100;w=100, "concurrent";q=5;qu="concurrent-requests", "tokens";q=90000;w=60;gw-unit="tokens", "budget";q=50000000;w=2592000;gw-unit="micro-usd"',
      ratelimit: '"requests";r=98;t=2, "concurrent";r=4, "tokens";r=89500;t=1, "budget";r=12345678;t=86400',
      'x-ratelimit-limit-requests': 100,
      'x-ratelimit-remaining-requests': 98,
      'x-ratelimit-reset-requests': '1.3s',
      'x-ratelimit-limit-tokens': 90_000,
      'x-ratelimit-remaining-tokens': 89_500,
      'x-ratelimit-reset-tokens': '334ms',
    });
  });

  it('tell no window that ends after a refused call may come again', () => {
    const limits = [at(requests, 0.2, 99_800), at(tokens, 90_000, 0)];
    expect(limitHeaders({ limits, waitMs: 800 }).ratelimit).toBe('"requests";r=0;t=1, "tokens";r=90000;t=0');
  });

  it('never tell less than nothing', () => {
    expect(limitHeaders({ limits: [at(tokens, -500.5, 60_334)] })).toMatchObject({
      ratelimit: '"tokens";r=0;t=61',
      'x-ratelimit-remaining-tokens': 0,
      'x-ratelimit-reset-tokens': '1m0.334s',
    });
  });

  it('tell no time of a bucket that nothing refills', () => {
    expect(limitHeaders({ limits: [at({ ...requests, refillPerMs: 0 } as Limit, 3, never)] })).toEqual({
      'ratelimit-policy': '"requests";q=100',
      ratelimit: '"requests";r=3',
      'x-ratelimit-limit-requests': 100,
      'x-ratelimit-remaining-requests': 3,
    });
  });

  it('say nothing of what all callers share, and nothing where there is nothing', () => {
    const global = { ...requests, subject: 'global', name: 'minute' };
    expect(limitHeaders({ limits: [at(global, 1, 1)] })).toEqual({});
    expect(limitHeaders({ limits: [] })).toEqual({});
    expect(limitHeaders({})).toEqual({});
    expect(limitHeaders({ limits: [at(global, 1, 1), at(requests, 1, 1)] }).ratelimit).toBe('"requests";r=1;t=1');
  });

  it.each([
    [0, '0ms'],
    [11.2, '12ms'],
    [999.0000001, '999ms'],
    [8640, '8.64s'],
    [60_000, '1m0s'],
    [360_000, '6m0s'],
    [5_400_000, '1h30m0s'],
  ])('tell %d ms as %s', (resetMs, shown) => {
    expect(limitHeaders({ limits: [at(requests, 1, resetMs)] })['x-ratelimit-reset-requests']).toBe(shown);
  });
});
