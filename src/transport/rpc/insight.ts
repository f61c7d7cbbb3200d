import { setTimeout as pause } from 'node:timers/promises';
import { durationMs } from '@bufbuild/protobuf/wkt';
import type { ServiceImpl } from '@connectrpc/connect';
import type { AdminService } from '../../../gen/llmgateway/v1/admin_service_pb.ts';
import { GatewayError } from '../../errors.ts';
import { type Insight, WINDOW_MINUTES } from '../../telemetry/insight.ts';

/** What is told of the gateway by rpc. */
export type InsightMethods = Pick<ServiceImpl<typeof AdminService>, 'getMetrics' | 'watchMetrics' | 'listCalls'>;

const INTERVAL_MS = 5_000;
const SHORTEST_MS = 1_000;
const LONGEST_MS = 3_600_000;
/** How often a watcher looks whether the gateway is shutting down. */
const LOOK_MS = 200;

/** Metrics, and the calls that ended last, by rpc. */
export function insightMethods(insight: Insight, draining: () => boolean): InsightMethods {
  return {
    getMetrics({ windowMinutes = WINDOW_MINUTES, provider }) {
      return { metrics: insight.snapshot(windowMinutes, provider || undefined) };
    },

    async *watchMetrics({ windowMinutes = WINDOW_MINUTES, provider, interval }, { signal }) {
      const intervalMs = interval ? durationMs(interval) : INTERVAL_MS;
      checkInterval(intervalMs);
      while (!draining()) {
        yield { metrics: insight.snapshot(windowMinutes, provider || undefined) };
        const until = performance.now() + intervalMs;
        for (let left = intervalMs; left > 0 && !draining(); left = until - performance.now()) {
          await pause(Math.min(left, LOOK_MS), undefined, { signal, ref: false });
        }
      }
      throw new GatewayError('draining', 'the gateway is shutting down');
    },

    listCalls: (request) => insight.calls(request),
  };
}

function checkInterval(intervalMs: number): void {
  if (intervalMs >= SHORTEST_MS && intervalMs <= LONGEST_MS) return;
  const description = `must be from 1 s to 3600 s, not ${intervalMs / 1000} s`;
  throw new GatewayError('invalid_request', `interval: ${description}`, {
    violations: [{ field: 'interval', description }],
  });
}
