import { type Insight, MOST_MINUTES, WINDOW_MINUTES } from '../../telemetry/insight.ts';
import { KEPT_CALLS } from '../../telemetry/recent-calls.ts';
import { preferredType } from '../accept.ts';
import { callRecordJson } from './call-record-json.ts';
import { wrong } from './fields.ts';
import { metricsJson } from './metrics-json.ts';
import type { Route } from './router.ts';

/** What Prometheus reads. */
const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
const types = ['application/json', 'text/plain', 'application/openmetrics-text'] as const;

/** `GET /metrics`: JSON, or what Prometheus reads, as the client prefers; and `GET /admin/calls`. Both for administrators. */
export function insightRoutes(insight: Insight): Route[] {
  return [
    {
      path: '/metrics',
      admin: true,
      async get(exchange) {
        const preferred = preferredType(exchange.header('accept'), types) ?? 'application/json';
        if (preferred !== 'application/json') {
          exchange.answer(200, await insight.exposition(), { 'content-type': EXPOSITION_TYPE });
          return;
        }
        const query = new URLSearchParams(exchange.query);
        const minutes = countIn(query, 'window_minutes', MOST_MINUTES) ?? WINDOW_MINUTES;
        const snapshot = insight.snapshot(minutes, query.get('provider') || undefined);
        exchange.answer(200, JSON.stringify(metricsJson(snapshot)));
      },
    },
    {
      path: '/admin/calls',
      admin: true,
      get(exchange) {
        const query = new URLSearchParams(exchange.query);
        const text = (name: string) => query.get(name) ?? '';
        const pageSize = countIn(query, 'limit', KEPT_CALLS);
        const { calls, nextPageToken } = insight.calls({
          ...(pageSize !== undefined && { pageSize }),
          pageToken: text('page_token'),
          provider: text('provider'),
          model: text('model'),
          outcome: text('outcome'),
          key: text('key'),
          requestId: text('request_id'),
        });
        exchange.answer(
          200,
          JSON.stringify({ calls: calls.map(callRecordJson), next_page_token: nextPageToken || null }),
        );
      },
    },
  ];
}

/** A whole number of a query, within bounds; undefined: it is not given. */
function countIn(query: URLSearchParams, name: string, most: number): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  const count = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= 1 && count <= most) return count;
  throw wrong(name, `must be a whole number from 1 to ${most}, not ${JSON.stringify(text)}`);
}
