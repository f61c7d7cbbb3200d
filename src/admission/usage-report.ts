import type { BudgetStatus, GetUsageRequest, GetUsageResponse, UsageRecord } from '../../gen/llmgateway/v1/usage_pb.ts';
import { GatewayError } from '../errors.ts';
import type { LimitStore, UsageCounts, UsageRow, UsageStore } from '../store/store.ts';
import { COUNTS, countsOfNothing, dayOf } from '../store/usage.ts';
import { durationOf, timestampOf } from '../time.ts';
import { type Budget, budgetLimit } from './budget.ts';
import { keySubject } from './call-limits.ts';

/** What is told of usage. */
export interface UsageReports {
  /** What was used, and how budgets stand. Throws for days that are none. */
  getUsage(request: Omit<GetUsageRequest, '$typeName'>): Promise<GetUsageResponse>;
  /** How the budget of a key stands, or each of them if no key is named. */
  budgetsOf(key: string): Promise<BudgetStatus[]>;
}

/** What reports are made of. */
export interface UsageReportsOptions {
  readonly usage: UsageStore;
  readonly limits: LimitStore;
  /** By the name of the key. */
  readonly budgets: ReadonlyMap<string, Budget>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

const DAY_MS = 86_400_000;
const USUAL_DAYS = 30;
const MOST_DAYS = 400;
const NANO = 1e9;

/** Tell what was used by key, provider, model and day, and how budgets stand. */
export function usageReports({ usage, limits, budgets, now }: UsageReportsOptions): UsageReports {
  return {
    async getUsage({ fromDay, toDay, key, model }) {
      const to = toDay || dayOf(now());
      const last = timeOf(to, 'to_day');
      const from = fromDay || dayOf(last - (USUAL_DAYS - 1) * DAY_MS);
      const days = (last - timeOf(from, 'from_day')) / DAY_MS + 1;
      if (days < 1) throw wrong('from_day', `must not be after ${to}, and is ${from}`);
      if (days > MOST_DAYS) throw wrong('from_day', `must be at most ${MOST_DAYS} days before ${to}, not ${days}`);
      const filter = { from, to, key: key || undefined, model: model || undefined };
      const [rows, standing] = await Promise.all([usage.find(filter), budgetsOf(key)]);
      return {
        $typeName: 'llmgateway.v1.GetUsageResponse',
        fromDay: from,
        toDay: to,
        records: rows.map(recordOf),
        total: recordOf(totalOf(rows)),
        budgets: standing,
      };
    },
    budgetsOf,
  };

  async function budgetsOf(key: string): Promise<BudgetStatus[]> {
    const asked = [...budgets].filter(([name]) => key === '' || name === key);
    if (asked.length === 0) return [];
    const holdings = await limits.look(asked.map(([name, budget]) => budgetLimit(keySubject(name), budget, 0)));
    return holdings.map(({ limit, remaining, reserved, resetMs }, index) => {
      const [name, { usd, periodMs }] = asked[index] as [string, Budget];
      return {
        $typeName: 'llmgateway.v1.BudgetStatus',
        key: name,
        budgetUsd: usd,
        spentUsd: (limit.capacity - remaining - reserved) / NANO,
        reservedUsd: reserved / NANO,
        period: durationOf(periodMs),
        // Where a period ends is known to the millisecond; how long it is until then is told by a clock of the store's own.
        resetTime: timestampOf(Math.round((now() + resetMs) / periodMs) * periodMs),
      };
    });
  }
}

/** The time at which a day begins. A text that only looks like a day, such as `2026-02-30`, is none. */
function timeOf(day: string, field: string): number {
  const time = /^\d{4}-\d{2}-\d{2}$/.test(day) ? Date.parse(day) : Number.NaN;
  if (Number.isNaN(time) || dayOf(time) !== day) {
    throw wrong(field, `must be a day such as 2026-11-23, not ${JSON.stringify(day)}`);
  }
  return time;
}

function wrong(field: string, description: string): GatewayError {
  return new GatewayError('invalid_request', `${field}: ${description}`, { violations: [{ field, description }] });
}

function totalOf(rows: readonly UsageRow[]): UsageRow {
  const total: UsageCounts = countsOfNothing();
  for (const row of rows) for (const count of COUNTS) total[count] += row[count];
  return { day: '', key: '', provider: '', model: '', ...total };
}

function recordOf({ nanoUsd, ...row }: UsageRow): UsageRecord {
  return { $typeName: 'llmgateway.v1.UsageRecord', ...row, costUsd: nanoUsd / NANO };
}
