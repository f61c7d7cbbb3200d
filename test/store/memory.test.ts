import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { MemoryLimits } from '../../src/store/memory.ts';
import type { Limit } from '../../src/store/store.ts';
import { LEASE_MS, limitSuite, requests, slots, tokens } from './limit-suite.ts';
import { SOME_TIME } from './trace.ts';

limitSuite('limits in memory', (clock) => new MemoryLimits({ leaseMs: LEASE_MS, now: () => clock.now }), 1000);

describe('limits in memory', () => {
  function user(number: number, more: Partial<Limit> = {}): Limit {
    return requests(1, { subject: `user:${number}`, ...more });
  }

  it('answer at once', () => {
    expect(new MemoryLimits({ leaseMs: LEASE_MS }).take([requests()])).not.toBeInstanceOf(Promise);
  });

  it('forget buckets that have filled up again, as others come', () => {
    const clock = { now: SOME_TIME };
    const store = new MemoryLimits({ leaseMs: LEASE_MS, now: () => clock.now });
    for (let number = 0; number < 1000; number++) store.take([user(number)]);
    expect(store.size).toBe(1000);
    clock.now += 1000;
    for (let number = 1000; number < 1400; number++) store.take([user(number)]);
    expect(store.size).toBe(400);
  });

  it('have no more buckets than allowed, and forget those that are full soonest', () => {
    const store = new MemoryLimits({ leaseMs: LEASE_MS, now: () => SOME_TIME, maxBuckets: 8 });
    const spent = user(0, { amount: 10 });
    store.take([spent]);
    for (let number = 1; number < 100; number++) store.take([user(number)]);
    expect(store.size).toBe(8);
    expect(store.take([spent]).admitted).toBe(false);
  });

  it('keep nothing of calls that are over', () => {
    const store = new MemoryLimits({ leaseMs: LEASE_MS, now: () => SOME_TIME });
    for (let call = 0; call < 100; call++) {
      const taken = store.take([tokens(50, { subject: `user:${call}` }), slots(1)]);
      if (taken.admitted && taken.reservation) store.settle(taken.reservation, { tokens: 0, nanoUsd: 0 });
    }
    expect(store.size).toBe(0);
  });

  it('keep nothing of calls that never told that they were over', () => {
    const clock = { now: SOME_TIME };
    const store = new MemoryLimits({ leaseMs: LEASE_MS, now: () => clock.now });
    store.take([slots(1)]);
    clock.now += LEASE_MS;
    store.look([slots(1)]);
    expect(store.size).toBe(0);
  });

  it('hold a million users in 150 MB', { timeout: 60_000 }, () => {
    const clock = { now: SOME_TIME };
    const store = new MemoryLimits({ leaseMs: LEASE_MS, now: () => clock.now });
    const before = megabytesUsed();

    for (let number = 0; number < 1_200_000; number++) store.take([user(number)]);

    expect(store.size).toBe(1_000_000);
    expect(megabytesUsed() - before).toBeLessThan(150);
    clock.now += 1e6;
    for (let number = 0; number < 300_000; number++) store.take([user(number)]);
    expect(store.size).toBeLessThan(310_000);
  });
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function megabytesUsed(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 1e6;
}
