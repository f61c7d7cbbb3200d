import type { ListCallsResponse } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import type { MetricsSnapshot } from '../../gen/llmgateway/v1/metrics_pb.ts';
import { GatewayError } from '../errors.ts';
import { type CallFilter, listCalls } from './list-calls.ts';
import type { RecentCalls } from './recent-calls.ts';
import { type SnapshotSources, takeSnapshot } from './snapshot.ts';

/** What those who run the gateway are told of it. */
export interface Insight {
  /** How it did over the last minutes: all providers, or one. Throws `invalid_request` and `not_found`. */
  snapshot(windowMinutes: number, provider?: string): MetricsSnapshot;
  /** All metrics, as Prometheus reads them. */
  exposition(): Promise<string>;
  /** The calls that ended last. */
  calls(filter: CallFilter): ListCallsResponse;
}

/** The window that is looked at, unless somebody asks for another. */
export const WINDOW_MINUTES = 60;
/** What is older is forgotten. */
export const MOST_MINUTES = 1440;

/** What there is to tell, from where it is kept. */
export function insightInto(sources: SnapshotSources, recent: RecentCalls, exposition: () => Promise<string>): Insight {
  return {
    snapshot(windowMinutes, provider) {
      checkWindow(windowMinutes);
      if (provider !== undefined) checkProvider(provider, sources.providers());
      return takeSnapshot(sources, windowMinutes, provider);
    },
    exposition,
    calls: (filter) => listCalls(recent, filter),
  };
}

function checkWindow(minutes: number): void {
  if (Number.isInteger(minutes) && minutes >= 1 && minutes <= MOST_MINUTES) return;
  const description = `must be a whole number from 1 to ${MOST_MINUTES}, not ${minutes}`;
  throw new GatewayError('invalid_request', `window_minutes: ${description}`, {
    violations: [{ field: 'window_minutes', description }],
  });
}

function checkProvider(provider: string, known: readonly string[]): void {
  if (known.includes(provider)) return;
  const list = known.join(', ') || 'none';
  throw new GatewayError('not_found', `there is no provider ${JSON.stringify(provider)}, only ${list}`);
}
