import { HealthStatus } from '../../gen/llmgateway/v1/health_service_pb.ts';
import type { DoorDependencies } from './call.ts';
import type { Route } from './rest/router.ts';
import { providersJson } from './rest/status.ts';
import { secondsOf } from './rest/times.ts';

const statuses: Readonly<Record<HealthStatus, string>> = {
  [HealthStatus.UNSPECIFIED]: 'unhealthy',
  [HealthStatus.HEALTHY]: 'healthy',
  [HealthStatus.DEGRADED]: 'degraded',
  [HealthStatus.UNHEALTHY]: 'unhealthy',
  [HealthStatus.DRAINING]: 'unhealthy',
};

/** The routes for those who run the gateway: `/livez`, `/readyz`, `/health` and `/providers`. */
export function opsRoutes({ gateway, draining }: DoorDependencies): Route[] {
  return [
    {
      path: '/livez',
      public: true,
      get: (exchange) => exchange.answer(200, '{"status":"alive"}'),
    },
    {
      path: '/readyz',
      public: true,
      get: (exchange) =>
        draining() ? exchange.answer(503, '{"status":"draining"}') : exchange.answer(200, '{"status":"ready"}'),
    },
    {
      // Many deployments restart what is not 200 here: providers that are down must not make it so.
      path: '/health',
      public: true,
      get: (exchange) => exchange.answer(draining() ? 503 : 200, healthJson()),
    },
    {
      path: '/providers',
      get: (exchange) => exchange.answer(200, JSON.stringify(providersJson(gateway.listProviders()))),
    },
  ];

  function healthJson(): string {
    const health = gateway.getHealth();
    return JSON.stringify({
      status: statuses[health.status],
      version: health.version,
      uptime_seconds: health.uptime ? secondsOf(health.uptime) : 0,
      active_providers: health.activeProviders,
      total_requests: health.totalRequests,
      draining: draining(),
      providers: providersJson(health.providers),
    });
  }
}
