import { setTimeout as pause } from 'node:timers/promises';
import type { ServiceImpl } from '@connectrpc/connect';
import { type Health, HealthCheckResponse_ServingStatus as Status } from '../../../gen/grpc/health/v1/health_pb.ts';
import { GatewayError } from '../../errors.ts';
import type { DoorDependencies } from '../call.ts';

/** How often a watcher looks whether the process has been asked to end, in milliseconds. */
const WATCH_MS = 200;

/**
 * The health protocol of gRPC, for load balancers: one status for all services and for the whole (the empty name).
 *
 * Providers do not count: a replica whose providers are down must not be taken away, as all others would be too.
 */
export function grpcHealth({ draining }: DoorDependencies, services: readonly string[]): ServiceImpl<typeof Health> {
  const names = new Set(['', ...services]);
  const status = () => (draining() ? Status.NOT_SERVING : Status.SERVING);
  return {
    check({ service }) {
      if (!names.has(service)) throw new GatewayError('not_found', `there is no service ${JSON.stringify(service)}`);
      return { status: status() };
    },

    list: () => ({ statuses: Object.fromEntries([...names].map((name) => [name, { status: status() }])) }),

    async *watch({ service }, { signal }) {
      yield { status: names.has(service) ? status() : Status.SERVICE_UNKNOWN };
      while (!draining()) await pause(WATCH_MS, undefined, { signal, ref: false });
      if (names.has(service)) yield { status: Status.NOT_SERVING };
      // A watcher that stayed would keep the process from ending.
      throw new GatewayError('draining', 'the gateway is shutting down');
    },
  };
}
