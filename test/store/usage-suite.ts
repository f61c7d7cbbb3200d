import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UsageRow, UsageStore } from '../../src/store/store.ts';
import { countsOfNothing } from '../../src/store/usage.ts';

export function usageRow(more: Partial<UsageRow> = {}): UsageRow {
  return {
    day: '2026-11-23',
    key: 'search-team',
    provider: 'groq',
    model: 'openai/gpt-oss-20b',
    ...countsOfNothing(),
    calls: 1,
    promptTokens: 100,
    completionTokens: 20,
    nanoUsd: 21_000,
    ...more,
  };
}

const november = { from: '2026-11-01', to: '2026-11-30' };

/** What every store of usage does. */
export function usageSuite(name: string, open: () => Promise<UsageStore> | UsageStore): void {
  describe(name, () => {
    let store: UsageStore;

    beforeEach(async () => {
      store = await open();
    });
    afterEach(() => store.close());

    it('has nothing at first', async () => {
      expect(await store.find(november)).toEqual([]);
    });

    it('adds up everything by key, provider, model and day', async () => {
      const full = {
        failedCalls: 1,
        cachedPromptTokens: 3,
        cacheWritePromptTokens: 4,
        reasoningTokens: 5,
        unpricedCalls: 1,
        nanoUsd: 9_000_000_000_000,
      };
      for (let call = 0; call < 3; call++) store.add(usageRow(full));
      expect(await store.find(november)).toEqual([
        {
          day: '2026-11-23',
          key: 'search-team',
          provider: 'groq',
          model: 'openai/gpt-oss-20b',
          calls: 3,
          failedCalls: 3,
          promptTokens: 300,
          completionTokens: 60,
          cachedPromptTokens: 9,
          cacheWritePromptTokens: 12,
          reasoningTokens: 15,
          nanoUsd: 27_000_000_000_000,
          unpricedCalls: 3,
        },
      ]);
      store.add(usageRow());
      expect(await store.find(november)).toMatchObject([{ calls: 4, failedCalls: 3 }]);
    });

    it('tells rows in the order of day, key, provider and model', async () => {
      store.add(usageRow({ day: '2026-11-24', key: 'a' }));
      store.add(usageRow({ key: 'b', provider: 'groq', model: 'z' }));
      store.add(usageRow({ key: 'b', provider: 'groq', model: 'Z' }));
      store.add(usageRow({ key: 'b', provider: '', model: '' }));
      store.add(usageRow({ key: 'a', provider: 'x\ny', model: '"m' }));
      expect((await store.find(november)).map(({ day, key, provider, model }) => [day, key, provider, model])).toEqual([
        ['2026-11-23', 'a', 'x\ny', '"m'],
        ['2026-11-23', 'b', '', ''],
        ['2026-11-23', 'b', 'groq', 'Z'],
        ['2026-11-23', 'b', 'groq', 'z'],
        ['2026-11-24', 'a', 'groq', 'openai/gpt-oss-20b'],
      ]);
    });

    it('tells of the days, the key and the model that are asked for', async () => {
      store.add(usageRow({ day: '2026-10-31' }));
      store.add(usageRow({ day: '2026-11-01' }));
      store.add(usageRow({ day: '2026-11-30', key: 'other' }));
      store.add(usageRow({ day: '2026-12-01' }));
      store.add(usageRow({ day: '2026-11-15', model: 'm' }));
      const days = async (more: object) => (await store.find({ ...november, ...more })).map(({ day }) => day);
      expect(await days({})).toEqual(['2026-11-01', '2026-11-15', '2026-11-30']);
      expect(await days({ key: 'search-team' })).toEqual(['2026-11-01', '2026-11-15']);
      expect(await days({ model: 'm' })).toEqual(['2026-11-15']);
      expect(await days({ key: 'other', model: 'm' })).toEqual([]);
      expect(await days({ from: '2026-10-31', to: '2026-10-31' })).toEqual(['2026-10-31']);
    });
  });
}
