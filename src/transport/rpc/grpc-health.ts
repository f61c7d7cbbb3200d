import { setTimeout as pause } from 'node:timers/promises';
import type { ServiceImpl } from '@connectrpc/connect';
import { type Health, HealthCheckResponse_ServingStatus as Status } from '../../../gen/grpc/health/v1/health_pb.ts';
import type { Provider } from '../../../gen/llmgateway/v1/provider_pb.ts';
import { GatewayError } from '../../errors.ts';
import type { DoorDependencies } from '../call.ts';

/** How often a watcher looks for changes, in milliseconds. */
const WATCH_MS = 200;

/** Providers have names of their own beside the services. */
const PROVIDER = 'provider/';

/**
 * The health protocol of gRPC, for load balancers: one status for all services and for the whole (the empty name).
 *
 * For these providers do not count: a replica whose providers are down must not be taken away, as all others would be too. Who wants
 * to know asks for `provider/NAME`, which serves while calls are sent to it and it is well.
 */
export function grpcHealth(
  { gateway, draining }: DoorDependencies,
  services: readonly string[],
): ServiceImpl<typeof Health> {
  const names = new Set(['', ...services]);
  const servingIf = (serves: boolean | undefined) => (serves && !draining() ? Status.SERVING : Status.NOT_SERVING);
  const providerStatus = ({ status }: Provider) => servingIf(status?.available && status.healthy);

  return {
    check({ service }) {
      const status = statusOf(service);
      if (status === undefined) throw new GatewayError('not_found', `there is no service ${JSON.stringify(service)}`);
      return { status };
    },

    list: () => ({
      statuses: Object.fromEntries([
        ...[...names].map((name) => [name, { status: servingIf(true) }]),
        ...gateway.listProviders().map((provider) => [PROVIDER + provider.name, { status: providerStatus(provider) }]),
      ]),
    }),

    async *watch({ service }, { signal }) {
      let told: Status | undefined;
      for (;;) {
        const isLast = draining();
        const status = statusOf(service) ?? Status.SERVICE_UNKNOWN;
        if (status !== told) yield { status };
        told = status;
        if (isLast) break;
        await pause(WATCH_MS, undefined, { signal, ref: false });
      }
      // A watcher that stayed would keep the process from ending.
      throw new GatewayError('draining', 'the gateway is shutting down');
    },
  };

  function statusOf(service: string): Status | undefined {
    if (names.has(service)) return servingIf(true);
    if (!service.startsWith(PROVIDER)) return undefined;
    const provider = gateway.listProviders().find(({ name }) => PROVIDER + name === service);
    return provider && providerStatus(provider);
  }
}
