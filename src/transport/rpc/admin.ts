import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import type { AdminService } from '../../../gen/llmgateway/v1/admin_service_pb.ts';
import { CompletionRequestSchema } from '../../../gen/llmgateway/v1/completion_pb.ts';
import type { DoorDependencies } from '../call.ts';
import { principalOf } from './arrival.ts';
import { insightMethods } from './insight.ts';

/** What those who run the gateway may see and do, by rpc. The gate lets only administrators come here. */
export function adminService({
  gateway,
  reload,
  insight,
  draining,
}: DoorDependencies): Partial<ServiceImpl<typeof AdminService>> {
  return {
    ...(insight && insightMethods(insight, draining)),
    getCircuitBreaker({ provider }) {
      const { whole, models } = gateway.circuitBreakerOf(provider);
      return { circuitBreaker: whole, models: [...models] };
    },
    resetCircuitBreaker: ({ provider, model }) => ({ circuitBreaker: gateway.resetCircuitBreaker(provider, model) }),
    setCircuitBreaker: ({ provider, model, hold }) => ({
      circuitBreaker: gateway.setCircuitBreaker(provider, model, hold),
    }),
    getUsage: (request) => gateway.getUsage(request),
    explainRoute: ({ request = create(CompletionRequestSchema) }, context) =>
      gateway.explainRoute(request, { principal: principalOf(context), streaming: false }),
    reloadConfig: () => reload(),
    purgeCache: async (request) => ({ purged: await gateway.purgeCache(request) }),
  };
}
