import { type Insight, MOST_MINUTES, WINDOW_MINUTES } from '../../telemetry/insight.ts';
import { KEPT_CALLS } from '../../telemetry/recent-calls.ts';
import { preferredType } from '../accept.ts';
import { requireAdmin } from '../admin-rights.ts';
import { callRecordJson } from './call-record-json.ts';
import { metricsJson } from './metrics-json.ts';
import { countIn, queryOf } from './query.ts';
import type { Route } from './router.ts';

/** What Prometheus reads. */
const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
const types = ['application/json', 'text/plain', 'application/openmetrics-text'] as const;

/** `GET /metrics`: JSON, or what Prometheus reads, as the client prefers; and `GET /admin/calls`. Both for administrators. */
export function insightRoutes(insight: Insight): Route[] {
  return [
    {
      path: '/metrics',
      async get(exchange, principal) {
        requireAdmin(principal);
        const preferred = preferredType(exchange.header('accept'), types) ?? 'application/json';
        if (preferred !== 'application/json') {
          exchange.answer(200, await insight.exposition(), { 'content-type': EXPOSITION_TYPE });
          return;
        }
        const query = queryOf(exchange);
        const minutes = countIn(query, 'window_minutes', MOST_MINUTES) ?? WINDOW_MINUTES;
        const snapshot = insight.snapshot(minutes, query.get('provider') || undefined);
        exchange.answer(200, JSON.stringify(metricsJson(snapshot)));
      },
    },
    {
      path: '/admin/calls',
      get(exchange, principal) {
        requireAdmin(principal);
        const query = queryOf(exchange);
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
