import type { DescFile } from '@bufbuild/protobuf';
import { file_google_rpc_error_details } from '../../../gen/google/rpc/error_details_pb.ts';
import { Health } from '../../../gen/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../../../gen/grpc/reflection/v1/reflection_pb.ts';
import { ServerReflection as ServerReflectionAlpha } from '../../../gen/grpc/reflection/v1alpha/reflection_pb.ts';
import { AdminService } from '../../../gen/llmgateway/v1/admin_service_pb.ts';
import { CompletionService } from '../../../gen/llmgateway/v1/completion_service_pb.ts';
import { EmbeddingService } from '../../../gen/llmgateway/v1/embedding_service_pb.ts';
import { HealthService } from '../../../gen/llmgateway/v1/health_service_pb.ts';
import { ProviderService } from '../../../gen/llmgateway/v1/provider_service_pb.ts';
import type { DoorDependencies } from '../call.ts';
import { createRpcHandler, type RpcHandler } from './adapter.ts';
import { adminService } from './admin.ts';
import { arrivalOf } from './arrival.ts';
import { completionService } from './completion.ts';
import { embeddingService } from './embedding.ts';
import { describeConnectError } from './errors.ts';
import { createGate } from './gate.ts';
import { grpcHealth } from './grpc-health.ts';
import { healthService } from './health.ts';
import { mapErrors } from './interceptors.ts';
import { providerService } from './provider.ts';
import { createReflection } from './reflection.ts';

const services = [CompletionService, EmbeddingService, ProviderService, HealthService, AdminService];
const protocols = [Health, ServerReflection, ServerReflectionAlpha];

/** Services that anybody may ask: how the gateway does is no secret, and balancers have no key. */
const keyless: ReadonlySet<string> = new Set([HealthService.typeName, Health.typeName]);

/** Services of which every rpc needs admin rights. */
const forAdmins: ReadonlySet<string> = new Set([AdminService.typeName]);

/** Services whose rpcs are carried out upstream. */
const calls: ReadonlySet<string> = new Set([CompletionService.typeName, EmbeddingService.typeName]);
/** Services that are asked again and again by machines, and say nothing of calls. */
const quiet: ReadonlySet<string> = new Set([HealthService, ...protocols].map(({ typeName }) => typeName));

/** Every rpc of the gateway, in gRPC, gRPC-Web and Connect. */
export function createRpcDoor(dependencies: DoorDependencies): RpcHandler {
  const { addressOf, log, bodyLimitBytes, writeStallMs } = dependencies;
  const names = [...services, ...protocols].map(({ typeName }) => typeName);
  // The details of errors are described too, so that grpcurl can print them.
  const files: DescFile[] = [...[...services, ...protocols].map(({ file }) => file), file_google_rpc_error_details];
  const serverReflectionInfo = createReflection(names, files);
  return createRpcHandler({
    addressOf,
    log,
    writeStallMs,
    readMaxBytes: bodyLimitBytes,
    requests: dependencies.requests,
    isTraced: (service) => !quiet.has(service),
    requestGate: createGate(dependencies, {
      needsNoKey: ({ parent }) => keyless.has(parent.typeName),
      needsAdmin: ({ parent }) => forAdmins.has(parent.typeName),
      isCarriedOut: ({ parent }) => calls.has(parent.typeName),
    }),
    onServed: (values) => arrivalOf(values)?.isRead?.(),
    interceptors: [mapErrors(log)],
    onError: (error, values) => describeConnectError(error, arrivalOf(values)?.requestId ?? ''),
    routes: (router) =>
      router
        .service(CompletionService, completionService(dependencies))
        .service(EmbeddingService, embeddingService(dependencies))
        .service(ProviderService, providerService(dependencies))
        .service(HealthService, healthService(dependencies))
        .service(AdminService, adminService(dependencies))
        .service(Health, grpcHealth(dependencies, names))
        .service(ServerReflection, { serverReflectionInfo })
        .service(ServerReflectionAlpha, { serverReflectionInfo }),
  });
}
