import type { ServiceImpl } from '@connectrpc/connect';
import type { HealthService } from '../../../gen/llmgateway/v1/health_service_pb.ts';
import type { DoorDependencies } from '../call.ts';

/** How the gateway does, by rpc. */
export function healthService({ gateway }: DoorDependencies): ServiceImpl<typeof HealthService> {
  return { getHealth: () => gateway.getHealth() };
}
