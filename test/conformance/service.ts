import { setTimeout as pause } from 'node:timers/promises';
import { create, type DescMessage, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { type Any, anyPack } from '@bufbuild/protobuf/wkt';
import { type Code, ConnectError, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import {
  BidiStreamRequestSchema,
  ClientStreamRequestSchema,
  type ConformancePayload,
  type ConformancePayload_RequestInfo,
  ConformancePayload_RequestInfoSchema,
  ConformancePayloadSchema,
  type ConformanceService,
  type Error as DefinedError,
  type Header,
  IdempotentUnaryRequestSchema,
  ServerStreamRequestSchema,
  type StreamResponseDefinition,
  UnaryRequestSchema,
  type UnaryResponseDefinition,
} from './gen/connectrpc/conformance/v1/service_pb.ts';

/** The service of the conformance suite: it answers what each request says, and tells what it has seen of it. */
export const conformanceService: Omit<ServiceImpl<typeof ConformanceService>, 'unimplemented'> = {
  async unary(request, context) {
    return { payload: await unaryAnswer(request.responseDefinition, context, [packed(UnaryRequestSchema, request)]) };
  },

  async idempotentUnary(request, context) {
    const requests = [packed(IdempotentUnaryRequestSchema, request)];
    return { payload: await unaryAnswer(request.responseDefinition, context, requests) };
  },

  async clientStream(requests, context) {
    const seen: Any[] = [];
    let definition: UnaryResponseDefinition | undefined;
    for await (const request of requests) {
      if (seen.length === 0) definition = request.responseDefinition;
      seen.push(packed(ClientStreamRequestSchema, request));
    }
    return { payload: await unaryAnswer(definition, context, seen) };
  },

  async *serverStream(request, context) {
    const { responseDefinition } = request;
    announce(responseDefinition, context);
    const seen = [packed(ServerStreamRequestSchema, request)];
    yield* streamedAnswers(responseDefinition, context, seen);
  },

  async *bidiStream(requests, context) {
    const seen: Any[] = [];
    let definition: StreamResponseDefinition | undefined;
    let fullDuplex = false;
    let sent = 0;
    for await (const request of requests) {
      if (definition === undefined) {
        definition = request.responseDefinition;
        fullDuplex = request.fullDuplex;
        announce(definition, context);
      }
      seen.push(packed(BidiStreamRequestSchema, request));
      if (!fullDuplex) continue;
      const data = definition?.responseData[sent];
      if (data === undefined) break;
      await pause(definition?.responseDelayMs, undefined, { signal: context.signal });
      const payload = payloadOf(data, sent === 0 ? told(context, seen) : { requests: seen });
      seen.length = 0;
      sent += 1;
      yield { payload };
    }
    yield* streamedAnswers(definition, context, seen, sent);
  },
};

function packed<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Any {
  return anyPack(schema, message);
}

async function unaryAnswer(
  definition: UnaryResponseDefinition | undefined,
  context: HandlerContext,
  requests: Any[],
): Promise<ConformancePayload> {
  announce(definition, context);
  await pause(definition?.responseDelayMs, undefined, { signal: context.signal });
  const seen = told(context, requests);
  const response = definition?.response;
  if (response?.case === 'error') throw defined(response.value, seen);
  return payloadOf(response?.case === 'responseData' ? response.value : new Uint8Array(), seen);
}

async function* streamedAnswers(
  definition: StreamResponseDefinition | undefined,
  context: HandlerContext,
  requests: Any[],
  alreadySent = 0,
): AsyncGenerator<{ payload: ConformancePayload }> {
  let sent = alreadySent;
  for (const data of definition?.responseData.slice(sent) ?? []) {
    await pause(definition?.responseDelayMs, undefined, { signal: context.signal });
    yield { payload: payloadOf(data, sent === 0 ? told(context, requests) : undefined) };
    sent += 1;
  }
  if (definition?.error) throw defined(definition.error, sent === 0 ? told(context, requests) : undefined);
}

function announce(
  definition: { responseHeaders: Header[]; responseTrailers: Header[] } | undefined,
  { responseHeader, responseTrailer }: HandlerContext,
): void {
  for (const { name, value } of definition?.responseHeaders ?? [])
    for (const one of value) responseHeader.append(name, one);
  for (const { name, value } of definition?.responseTrailers ?? [])
    for (const one of value) responseTrailer.append(name, one);
}

function told(context: HandlerContext, requests: Any[]): ConformancePayload_RequestInfo {
  const timeoutMs = context.timeoutMs();
  const queryParams = [...new URL(context.url).searchParams].map(([name, value]) => ({ name, value: [value] }));
  return create(ConformancePayload_RequestInfoSchema, {
    requestHeaders: [...context.requestHeader].map(([name, value]) => ({ name, value: [value] })),
    requests: [...requests],
    ...(timeoutMs !== undefined && { timeoutMs: BigInt(timeoutMs) }),
    ...(context.requestMethod === 'GET' && { connectGetInfo: { queryParams } }),
  });
}

function payloadOf(
  data: Uint8Array,
  requestInfo: MessageInitShape<typeof ConformancePayload_RequestInfoSchema> | undefined,
): ConformancePayload {
  return create(ConformancePayloadSchema, { data, ...(requestInfo && { requestInfo }) });
}

function defined(
  { message, code, details }: DefinedError,
  seen: ConformancePayload_RequestInfo | undefined,
): ConnectError {
  const error = new ConnectError(message ?? '', code as number as Code);
  error.details = details.map(({ typeUrl, value }) => ({ type: typeUrl.slice(typeUrl.lastIndexOf('/') + 1), value }));
  if (seen) error.details.push({ desc: ConformancePayload_RequestInfoSchema, value: seen });
  return error;
}
