import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryCache } from '../../src/cache/memory-cache.ts';
import { answerStoreSuite } from './answer-store-suite.ts';

function memoryCache(maxBytes: number) {
  let at = 0;
  const store = new MemoryCache({ maxBytes, now: () => at });
  return {
    store,
    pass(ms: number) {
      at += ms;
    },
  };
}

answerStoreSuite('in memory', () => memoryCache(64 * 1024 * 1024));

const tenKilobytes = new Uint8Array(10_000);

describe('the cache in memory', () => {
  it('forgets what was not used for longest when there is no room', () => {
    const { store } = memoryCache(35_000);
    for (const key of ['a', 'b', 'c']) store.set(key, tenKilobytes, 1000, []);
    store.get('a');
    store.set('d', tenKilobytes, 1000, []);
    expect(['a', 'b', 'c', 'd'].filter((key) => store.get(key) !== undefined)).toEqual(['a', 'c', 'd']);
  });

  it('does not keep an answer that is larger than all its room, nor the one it would replace', () => {
    const { store } = memoryCache(15_000);
    store.set('a', tenKilobytes, 1000, []);
    store.set('a', new Uint8Array(20_000), 1000, []);
    expect(store.get('a')).toBeUndefined();
    store.set('b', tenKilobytes, 1000, []);
    store.set('c', new Uint8Array(20_000), 1000, []);
    expect(store.get('b')).toBeDefined();
  });

  it('lets expired answers go while others are stored', () => {
    const { store, pass } = memoryCache(1_000_000_000);
    for (let at = 0; at < 100; at++) store.set(`old ${at}`, tenKilobytes, 10, []);
    pass(20);
    for (let at = 0; at < 60; at++) store.set(`new ${at}`, tenKilobytes, 1000, []);
    expect(store.count).toBe(60);
  });

  it('stays within its bound and keeps its account, whatever is done', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
    const tag = fc.constantFrom('x', 'y');
    const step = fc.oneof(
      fc.record({
        do: fc.constant('set' as const),
        key,
        size: fc.nat(4000),
        ttl: fc.integer({ min: 1, max: 50 }),
        tag,
      }),
      fc.record({ do: fc.constant('get' as const), key }),
      fc.record({ do: fc.constant('purge' as const), tag }),
      fc.record({ do: fc.constant('forget' as const), key }),
      fc.record({ do: fc.constant('pass' as const), ms: fc.nat(30) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { store, pass } = memoryCache(10_000);
        const told = new Map<string, { until: number; size: number }>();
        let now = 0;
        for (const each of steps) {
          if (each.do === 'set') {
            store.set(each.key, new Uint8Array(each.size), each.ttl, [each.tag]);
            told.set(each.key, { until: now + each.ttl, size: each.size });
          } else if (each.do === 'purge') store.purge({ tag: each.tag });
          else if (each.do === 'forget') store.purge({ key: each.key });
          else if (each.do === 'pass') {
            now += each.ms;
            pass(each.ms);
          } else {
            const found = store.get(each.key);
            const last = told.get(each.key);
            if (found) expect(last && last.until > now && last.size === found.bytes.byteLength).toBe(true);
          }
          expect(store.bytes).toBeLessThanOrEqual(10_000);
        }
        for (const each of ['a', 'b', 'c', 'd', 'e', 'f']) store.purge({ key: each });
        expect([store.count, store.bytes]).toEqual([0, 0]);
      }),
      { numRuns: 300 },
    );
  });
});
