import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  type CreateEmbeddingsResponse,
  EmbeddingRequestSchema,
  type EmbeddingService,
} from '../../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../../errors.ts';
import type { DoorDependencies } from '../call.ts';
import { beginCall } from './arrival.ts';
import { tellAttempts, tellFailure, tellOrigin } from './completion.ts';
import { adoptOptionHeaders } from './option-headers.ts';

/** Embeddings by rpc. */
export function embeddingService(dependencies: DoorDependencies): ServiceImpl<typeof EmbeddingService> {
  return {
    async createEmbeddings({ request = create(EmbeddingRequestSchema) }, context) {
      adoptOptionHeaders(request, context.requestHeader);
      const call = beginCall(context, request.options, dependencies, false);
      try {
        for await (const result of dependencies.gateway.embed(request, call.context)) {
          tellOrigin(context, result, call.context);
          tellAttempts(context.responseHeader, result);
          return { $typeName: 'llmgateway.v1.CreateEmbeddingsResponse', result } satisfies CreateEmbeddingsResponse;
        }
        throw new GatewayError('provider_protocol', 'the answer ended before it began');
      } catch (cause) {
        tellFailure(context, call.context);
        throw cause;
      } finally {
        call.end();
      }
    },
  };
}
