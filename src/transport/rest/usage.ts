import { durationMs, timestampMs } from '@bufbuild/protobuf/wkt';
import type { GetUsageResponse, UsageRecord } from '../../../gen/llmgateway/v1/usage_pb.ts';
import { GatewayError } from '../../errors.ts';
import type { Gateway } from '../../gateway.ts';
import { renamed } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { wrong } from './fields.ts';
import { readQuery } from './query.ts';

const parameters = ['from', 'to', 'key', 'model', 'format'] as const;
const names: Readonly<Record<string, string>> = { from_day: 'from', to_day: 'to' };

/**
 * `GET /admin/usage?from=2026-11-01&to=2026-11-30&key=search-team&model=…`: JSON, or with `Accept: text/csv` or `format=csv` a table.
 */
export async function answerUsage(exchange: Exchange, gateway: Pick<Gateway, 'getUsage'>): Promise<void> {
  const { from = '', to = '', key = '', model = '', format } = readQuery(exchange, parameters);
  const asTable = wantsTable(exchange, format);
  let report: GetUsageResponse;
  try {
    report = await gateway.getUsage({ fromDay: from, toDay: to, key, model });
  } catch (cause) {
    throw cause instanceof GatewayError ? renamed(cause, (field) => names[field] ?? field) : cause;
  }
  if (asTable) answerTable(exchange, report);
  else exchange.answer(200, JSON.stringify(usageJson(report)));
}

function wantsTable(exchange: Exchange, format: string | undefined): boolean {
  if (format !== undefined && format !== 'csv' && format !== 'json') {
    throw wrong('format', `must be json or csv, not ${JSON.stringify(format)}`);
  }
  return format === 'csv' || (format === undefined && /^\s*text\/csv\b/i.test(exchange.header('accept') ?? ''));
}

function usageJson({ fromDay, toDay, records, total, budgets }: GetUsageResponse): object {
  return {
    from: fromDay,
    to: toDay,
    records: records.map((record) => ({ ...keysOf(record), ...countsOf(record) })),
    total: total ? countsOf(total) : null,
    budgets: budgets.map(({ key, budgetUsd, spentUsd, reservedUsd, period, resetTime }) => ({
      key,
      budget_usd: budgetUsd,
      spent_usd: spentUsd,
      reserved_usd: reservedUsd,
      period_seconds: period ? durationMs(period) / 1000 : null,
      resets_at: resetTime ? new Date(timestampMs(resetTime)).toISOString() : null,
    })),
  };
}

function keysOf({ day, key, provider, model }: UsageRecord) {
  return { day, key, provider, model };
}

function countsOf(record: UsageRecord) {
  return {
    calls: record.calls,
    failed_calls: record.failedCalls,
    prompt_tokens: record.promptTokens,
    completion_tokens: record.completionTokens,
    cached_prompt_tokens: record.cachedPromptTokens,
    cache_write_prompt_tokens: record.cacheWritePromptTokens,
    reasoning_tokens: record.reasoningTokens,
    cost_usd: record.costUsd,
    unpriced_calls: record.unpricedCalls,
  };
}

function answerTable(exchange: Exchange, { fromDay, toDay, records, total }: GetUsageResponse): void {
  const { request, response } = exchange;
  if (exchange.left || total === undefined) return;
  const heads = Object.keys({ ...keysOf(total), ...countsOf(total) });
  const rows = records.map((record) => [
    ...Object.values(keysOf(record)).map(cellOf),
    ...Object.values({ ...countsOf(record), cost_usd: decimal(record.costUsd) }),
  ]);
  const table = [heads, ...rows].map((row) => `${row.join(',')}\r\n`).join('');
  response.writeHead(
    200,
    exchange.headers({
      'content-type': 'text/csv; charset=utf-8; header=present',
      'content-disposition': `attachment; filename="usage-${fromDay}-${toDay}.csv"`,
      'content-length': Buffer.byteLength(table),
    }),
  );
  response.end(request.method === 'HEAD' ? undefined : table);
}

/** To the nano-dollar, and never as `1e-7`. */
function decimal(usd: number): string {
  return usd.toFixed(9).replace(/\.?0+$/, '');
}

/**
 * A text in a table (RFC 4180).
 *
 * Spreadsheets take what begins with one of these signs for a formula, and names of models are what providers say they are.
 */
function cellOf(text: string): string {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
