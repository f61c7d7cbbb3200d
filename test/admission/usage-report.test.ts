import { timestampMs } from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from 'vitest';
import { usageReports } from '../../src/admission/usage-report.ts';
import { MemoryLimits } from '../../src/store/memory.ts';
import { MemoryUsage } from '../../src/store/memory-usage.ts';
import { admitted, LEASE_MS } from '../store/limit-suite.ts';
import { usageRow } from '../store/usage-suite.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');
const HOUR_MS = 3_600_000;
const everything = { fromDay: '', toDay: '', key: '', model: '' };

function setUp({ storeIsAheadMs = 0 } = {}) {
  const usage = new MemoryUsage();
  const limits = new MemoryLimits({ leaseMs: LEASE_MS, now: () => NOW + storeIsAheadMs });
  const budgets = new Map([
    ['search-team', { usd: 50, periodMs: 24 * HOUR_MS }],
    ['ads-team', { usd: 0.5, periodMs: HOUR_MS }],
  ]);
  return { usage, limits, reports: usageReports({ usage, limits, budgets, now: () => NOW }) };
}

describe('a report of usage', () => {
  it('has the last 30 days where nobody says', async () => {
    const { usage, reports } = setUp();
    for (const day of ['2026-10-24', '2026-10-25', '2026-11-23', '2026-11-24']) usage.add(usageRow({ day }));
    const report = await reports.getUsage(everything);
    expect(report).toMatchObject({ fromDay: '2026-10-25', toDay: '2026-11-23' });
    expect(report.records.map(({ day }) => day)).toEqual(['2026-10-25', '2026-11-23']);
  });

  it('has 30 days up to the last one that is given', async () => {
    const report = await setUp().reports.getUsage({ ...everything, toDay: '2026-03-01' });
    expect(report).toMatchObject({ fromDay: '2026-01-31', toDay: '2026-03-01', records: [] });
  });

  it('tells tokens by kind, dollars and their sums', async () => {
    const { usage, reports } = setUp();
    usage.add(usageRow({ cachedPromptTokens: 30, reasoningTokens: 5, nanoUsd: 1_500_000_000, failedCalls: 1 }));
    usage.add(usageRow({ model: 'other', nanoUsd: 250_000_000, unpricedCalls: 1, cacheWritePromptTokens: 7 }));
    const { records, total } = await reports.getUsage(everything);
    expect(records[0]).toMatchObject({
      key: 'search-team',
      provider: 'groq',
      model: 'openai/gpt-oss-20b',
      calls: 1,
      failedCalls: 1,
      promptTokens: 100,
      completionTokens: 20,
      cachedPromptTokens: 30,
      reasoningTokens: 5,
      costUsd: 1.5,
      unpricedCalls: 0,
    });
    expect(total).toMatchObject({
      day: '',
      key: '',
      calls: 2,
      promptTokens: 200,
      cacheWritePromptTokens: 7,
      costUsd: 1.75,
      unpricedCalls: 1,
    });
  });

  it('is of one key and one model where they are given', async () => {
    const { usage, reports } = setUp();
    usage.add(usageRow());
    usage.add(usageRow({ key: 'ads-team' }));
    usage.add(usageRow({ key: 'ads-team', model: 'other' }));
    const report = await reports.getUsage({ ...everything, key: 'ads-team', model: 'other' });
    expect(report.records).toMatchObject([{ key: 'ads-team', model: 'other' }]);
    expect(report.budgets.map(({ key }) => key)).toEqual(['ads-team']);
  });

  it('tells how budgets stand: what was spent, what calls hold, and when a new period begins', async () => {
    const { limits, reports } = setUp();
    const limit = {
      kind: 'budget',
      subject: 'key:search-team',
      name: 'budget',
      capacity: 50e9,
      periodMs: 24 * HOUR_MS,
    } as const;
    limits.settle(admitted(limits.take([{ ...limit, amount: 2e9 }])), { tokens: 0, nanoUsd: 1.25e9 });
    admitted(limits.take([{ ...limit, amount: 3e9 }]));
    const { budgets } = await reports.getUsage(everything);
    expect(budgets).toMatchObject([
      { key: 'search-team', budgetUsd: 50, spentUsd: 1.25, reservedUsd: 3, period: { seconds: 86_400n } },
      { key: 'ads-team', budgetUsd: 0.5, spentUsd: 0, reservedUsd: 0, period: { seconds: 3600n } },
    ]);
    expect(Number(budgets[0]?.resetTime?.seconds) * 1000).toBe(Date.parse('2026-11-24T00:00:00Z'));
  });

  // Budgets were renewed at 23:59:59.999, on the day before.
  it.each([0.2, -0.2, 1500, -1500])(
    'tells when a period begins though the clock of the store is %d ms ahead',
    async (ms) => {
      const { budgets } = await setUp({ storeIsAheadMs: ms }).reports.getUsage({ ...everything, key: 'search-team' });
      const times = budgets.map(({ resetTime }) => resetTime && timestampMs(resetTime));
      expect(times).toEqual([Date.parse('2026-11-24T00:00:00Z')]);
    },
  );

  it.each([
    [{ fromDay: 'yesterday' }, 'from_day', 'must be a day such as 2026-11-23, not "yesterday"'],
    [{ toDay: '2026-02-30' }, 'to_day', 'must be a day such as 2026-11-23, not "2026-02-30"'],
    [{ toDay: '2026-11-2' }, 'to_day', 'must be a day such as 2026-11-23, not "2026-11-2"'],
    [{ fromDay: '2026-11-24' }, 'from_day', 'must not be after 2026-11-23, and is 2026-11-24'],
    [{ fromDay: '2024-01-01' }, 'from_day', 'must be at most 400 days before 2026-11-23, not 1058'],
  ])('is refused for %j', async (days, field, description) => {
    await expect(setUp().reports.getUsage({ ...everything, ...days })).rejects.toMatchObject({
      reason: 'invalid_request',
      violations: [{ field, description }],
    });
  });
});
