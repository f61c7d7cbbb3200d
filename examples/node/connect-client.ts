/**
 * Talks to the gateway by gRPC, gRPC-Web or Connect, with the types of the contract.
 *
 *     node examples/node/connect-client.ts http://localhost:8080 grpc|grpc-web|connect
 *
 * GATEWAY_API_KEY holds the key, where the gateway wants one.
 */
import { Code, ConnectError, createClient, type Interceptor, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { CallFailureSchema, Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionService } from '../../gen/llmgateway/v1/completion_service_pb.ts';

const addKey: Interceptor = (next) => (request) => {
  if (process.env.GATEWAY_API_KEY) request.header.set('authorization', `Bearer ${process.env.GATEWAY_API_KEY}`);
  return next(request);
};

/** The three protocols that one port of the gateway speaks. gRPC needs HTTP/2, the others do without. */
export const transports: Record<string, (baseUrl: string) => Transport> = {
  grpc: (baseUrl) => createGrpcTransport({ baseUrl, interceptors: [addKey] }),
  'grpc-web': (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: '1.1', interceptors: [addKey] }),
  connect: (baseUrl) => createConnectTransport({ baseUrl, httpVersion: '1.1', interceptors: [addKey] }),
};

/** A request with one message. `model` empty: the gateway chooses. */
export function question(text: string, model = '') {
  return { model, messages: [{ role: Role.USER, parts: [{ kind: { case: 'text' as const, value: text } }] }] };
}

async function main(gatewayUrl: string, protocol: string): Promise<void> {
  const transport = transports[protocol];
  if (transport === undefined)
    throw new Error(`unknown protocol ${protocol}: one of ${Object.keys(transports).join(', ')}`);
  const client = createClient(CompletionService, transport(gatewayUrl));

  const { outputText, completion } = await client.createCompletion({ request: question('Hello!') });
  console.log(`${completion?.provider} (${completion?.model}): ${outputText}`);

  for await (const { event } of client.streamCompletion({ request: question('Tell me a story') })) {
    if (event?.event.case === 'textDelta') process.stdout.write(event.event.value.text);
    if (event?.event.case === 'finished') console.log(`\n${event.event.value.usage?.totalTokens} tokens`);
  }

  try {
    await client.createCompletion({ request: question('Hello!', 'no-such-model') });
  } catch (cause) {
    const error = ConnectError.from(cause);
    const [failure] = error.findDetails(CallFailureSchema);
    console.log(`${Code[error.code]}: ${error.rawMessage} (${failure?.reason}, request ${failure?.requestId})`);
  }
}

if (import.meta.main) await main(process.argv[2] ?? 'http://localhost:8080', process.argv[3] ?? 'grpc');
