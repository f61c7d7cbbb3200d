import { describe, expect, it } from 'vitest';
import type { AnswerStore } from '../../src/cache/answer-store.ts';

/** A store under test, and the clock that it goes by. */
export interface StoreUnderTest {
  readonly store: AnswerStore;
  /** Let time pass for the store. */
  pass(ms: number): Promise<void> | void;
}

const bytes = (...values: number[]) => new Uint8Array(values);

/** What every store of answers holds to. */
export function answerStoreSuite(name: string, open: () => Promise<StoreUnderTest> | StoreUnderTest): void {
  describe(`answers kept ${name}`, () => {
    it('come back as they were stored, byte by byte', async () => {
      const { store } = await open();
      const every = Uint8Array.from({ length: 256 }, (_, value) => value);
      await store.set('a', every, 1000, []);
      await store.set('empty', bytes(), 1000, []);
      expect(new Uint8Array((await store.get('a'))?.bytes ?? [])).toEqual(every);
      expect(new Uint8Array((await store.get('empty'))?.bytes ?? [1])).toEqual(bytes());
      expect(await store.get('b')).toBeUndefined();
    });

    it('tell their age, and are gone when their time is over', async () => {
      const { store, pass } = await open();
      await store.set('a', bytes(1), 300, []);
      expect((await store.get('a'))?.ageMs).toBeLessThan(100);
      await pass(150);
      expect((await store.get('a'))?.ageMs).toBeGreaterThanOrEqual(149);
      await pass(160);
      expect(await store.get('a')).toBeUndefined();
    });

    it('are replaced by later ones of the same key, with their tags and time', async () => {
      const { store, pass } = await open();
      await store.set('a', bytes(1), 100, ['old']);
      await store.set('a', bytes(2, 2), 60_000, ['new']);
      await pass(110);
      expect([...((await store.get('a'))?.bytes ?? [])]).toEqual([2, 2]);
      expect(await store.purge({ tag: 'new' })).toBe(1);
      expect(await store.get('a')).toBeUndefined();
    });

    it('are forgotten by key', async () => {
      const { store } = await open();
      await store.set('a', bytes(1), 1000, ['t']);
      await store.set('b', bytes(1), 1000, ['t']);
      expect(await store.purge({ key: 'a' })).toBe(1);
      expect(await store.purge({ key: 'a' })).toBe(0);
      expect(await store.get('a')).toBeUndefined();
      expect(await store.get('b')).toBeDefined();
      expect(await store.purge({ tag: 't' })).toBe(1);
    });

    it('are forgotten by tag, many at once', async () => {
      const { store } = await open();
      const count = 2500;
      for (let at = 0; at < count; at++)
        await store.set(`k${at}`, bytes(at), 60_000, [at % 5 === 0 ? 'fifth' : 'other', 'x']);
      expect(await store.purge({ tag: 'fifth' })).toBe(500);
      expect(await store.get('k5')).toBeUndefined();
      expect(await store.get('k6')).toBeDefined();
      expect(await store.purge({ tag: 'nobody' })).toBe(0);
      expect(await store.purge({ tag: 'x' })).toBe(2000);
    });

    it('are forgotten all at once', async () => {
      const { store } = await open();
      for (let at = 0; at < 1200; at++) await store.set(`k${at}`, bytes(at), 60_000, ['x']);
      expect(await store.purge('all')).toBe(1200);
      expect(await store.purge('all')).toBe(0);
      expect(await store.get('k1')).toBeUndefined();
      await store.set('k1', bytes(1), 1000, ['x']);
      expect(await store.purge({ tag: 'x' })).toBe(1);
    });

    it('that have expired are not counted among the forgotten by key', async () => {
      const { store, pass } = await open();
      await store.set('a', bytes(1), 50, ['x']);
      await pass(70);
      expect(await store.get('a')).toBeUndefined();
      expect(await store.purge({ key: 'a' })).toBe(0);
      expect(await store.purge({ tag: 'x' })).toBe(0);
    });
  });
}
