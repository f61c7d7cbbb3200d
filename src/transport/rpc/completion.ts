import { create } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { type Attempt, type Completion, CompletionRequestSchema } from '../../../gen/llmgateway/v1/completion_pb.ts';
import type {
  CompletionService,
  CreateCompletionResponse,
  StreamCompletionResponse,
} from '../../../gen/llmgateway/v1/completion_service_pb.ts';
import { type CallContext, collect, triesIn } from '../../completion.ts';
import { accountHeaders, failureHeaders } from '../account-headers.ts';
import type { DoorDependencies } from '../call.ts';
import { beginCall } from './arrival.ts';
import { adoptOptionHeaders } from './option-headers.ts';

/** Completions by rpc, whole and streamed. */
export function completionService(dependencies: DoorDependencies): ServiceImpl<typeof CompletionService> {
  const { gateway } = dependencies;
  return {
    async createCompletion({ request = create(CompletionRequestSchema) }, context) {
      adoptOptionHeaders(request, context.requestHeader);
      const call = beginCall(context, request.options, dependencies, false);
      try {
        const completion = await collect(gateway.complete(request, call.context));
        tellOrigin(context, completion, call.context);
        tellAttempts(context.responseHeader, completion);
        return wholeAnswer(completion);
      } catch (cause) {
        tellFailure(context, call.context);
        throw cause;
      } finally {
        call.end();
      }
    },

    async *streamCompletion({ request = create(CompletionRequestSchema) }, context) {
      adoptOptionHeaders(request, context.requestHeader);
      const call = beginCall(context, request.options, dependencies, true);
      try {
        for await (const event of gateway.complete(request, call.context)) {
          call.tellLimits();
          if (event.event.case === 'started') {
            tellOrigin(context, event.event.value, call.context);
            context.responseHeader.set('x-gateway-attempts', String(call.context.account.tries));
          }
          if (event.event.case === 'finished') tellAttempts(context.responseTrailer, event.event.value);
          yield { $typeName: 'llmgateway.v1.StreamCompletionResponse', event } satisfies StreamCompletionResponse;
        }
      } catch (cause) {
        tellFailure(context, call.context);
        throw cause;
      } finally {
        call.end();
      }
    },
  };
}

/** Say who answers, and what the cache did, in the headers; after a heartbeat they are gone, and only the event says it. */
export function tellOrigin(
  { responseHeader }: HandlerContext,
  { provider, droppedFields }: { provider: string; droppedFields: readonly string[] },
  { account }: CallContext,
): void {
  if (provider !== '') responseHeader.set('x-selected-provider', provider);
  if (droppedFields.length > 0) responseHeader.set('x-gateway-dropped-params', droppedFields.join(', '));
  for (const [name, value] of Object.entries(accountHeaders(account))) responseHeader.set(name, value);
}

/** Say of a call that failed whether an earlier one did; after the first event the headers are gone. */
export function tellFailure({ responseHeader }: HandlerContext, { account }: CallContext): void {
  for (const [name, value] of Object.entries(failureHeaders(account))) responseHeader.set(name, value);
}

/** Say how many targets were tried. */
export function tellAttempts(headers: Headers, { attempts }: { attempts: readonly Attempt[] }): void {
  headers.set('x-gateway-attempts', String(triesIn(attempts)));
}

/** The answer, and once more what most programs want of it: words and tool calls of the first choice. */
function wholeAnswer(completion: Completion): CreateCompletionResponse {
  const response: CreateCompletionResponse = {
    $typeName: 'llmgateway.v1.CreateCompletionResponse',
    completion,
    outputText: '',
    reasoningText: '',
    toolCalls: [],
  };
  for (const { kind } of completion.choices[0]?.message?.parts ?? []) {
    if (kind.case === 'text') response.outputText += kind.value;
    else if (kind.case === 'reasoning') response.reasoningText += kind.value;
    else if (kind.case === 'toolCall') response.toolCalls.push(kind.value);
  }
  return response;
}
