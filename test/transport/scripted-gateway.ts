import type { DescService } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { type Client, createClient, type Interceptor, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import pino from 'pino';
import { GetHealthResponseSchema, HealthStatus } from '../../gen/llmgateway/v1/health_service_pb.ts';
import { ModelSchema, ProviderSchema } from '../../gen/llmgateway/v1/provider_pb.ts';
import type { CallContext, Principal } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import type { Gateway } from '../../src/gateway.ts';
import { addressReader } from '../../src/transport/client-address.ts';
import { createHandler, type HandlerDependencies } from '../../src/transport/handler.ts';
import { createServer, type RequestHandler, type Server, type ServerOptions } from '../../src/transport/server.ts';

export const silent = pino({ level: 'silent' });

function unscripted(): never {
  throw new GatewayError('no_provider_available', 'nothing is scripted');
}

/** A gateway of which a test writes the parts that matter to it. */
export function scriptedGateway(parts: Partial<Gateway> = {}): Gateway {
  return {
    // biome-ignore lint/correctness/useYield: it fails before it yields
    async *complete() {
      throw new GatewayError('no_provider_available', 'nothing is scripted');
    },
    // biome-ignore lint/correctness/useYield: it fails before it yields
    async *embed() {
      throw new GatewayError('no_provider_available', 'nothing is scripted');
    },
    listModels: async () => [
      create(ModelSchema, { id: 'fast', alias: true }),
      create(ModelSchema, { id: 'small', provider: 'first' }),
      create(ModelSchema, { id: 'large', provider: 'second' }),
    ],
    listProviders: () => [create(ProviderSchema, { name: 'first' }), create(ProviderSchema, { name: 'second' })],
    getHealth: () => create(GetHealthResponseSchema, { status: HealthStatus.HEALTHY, version: '1.2.3' }),
    circuitBreakerOf: unscripted,
    resetCircuitBreaker: unscripted,
    setCircuitBreaker: unscripted,
    explainRoute: unscripted,
    getUsage: unscripted,
    purgeCache: unscripted,
    ...parts,
  };
}

/** A call that a gateway was asked to carry out. */
export interface Seen {
  readonly request: unknown;
  readonly context: CallContext;
}

export const anybody: Principal = { name: 'anonymous', tier: 'default', models: [], admin: false };

/** A server whose doors lead to `gateway`; close it with the test. */
export async function serveGateway(
  gateway: Gateway,
  more: Partial<HandlerDependencies> & { rest?: RequestHandler; server?: Partial<ServerOptions> } = {},
): Promise<{ server: Server; port: number; base: string }> {
  const {
    rest = (_request, response) => response.writeHead(404).end('rest'),
    server: serverOptions,
    ...dependencies
  } = more;
  const handler = createHandler(
    {
      gateway,
      arrive: () => () => {},
      authenticate: () => anybody,
      addressOf: addressReader([]),
      log: silent,
      bodyLimitBytes: 1_000_000,
      writeStallMs: 10_000,
      draining: () => false,
      reload: async () => {
        throw new GatewayError('not_found', 'there is nothing to reload');
      },
      corsOrigins: ['*'],
      ...dependencies,
    },
    rest,
  );
  const server = createServer({ host: '127.0.0.1', port: 0, handler, log: silent, ...serverOptions });
  const { port } = await server.listen();
  return { server, port, base: `http://127.0.0.1:${port}` };
}

/** Every way in which a client can speak to the RPC doors. */
export const protocols: readonly [string, (baseUrl: string, interceptors?: Interceptor[]) => Transport][] = [
  ['gRPC', (baseUrl, interceptors = []) => createGrpcTransport({ baseUrl, interceptors })],
  ['gRPC-Web', (baseUrl, interceptors = []) => createGrpcWebTransport({ baseUrl, interceptors, httpVersion: '1.1' })],
  [
    'gRPC-Web over HTTP/2',
    (baseUrl, interceptors = []) => createGrpcWebTransport({ baseUrl, interceptors, httpVersion: '2' }),
  ],
  [
    'Connect',
    (baseUrl, interceptors = []) =>
      createConnectTransport({ baseUrl, interceptors, httpVersion: '1.1', useBinaryFormat: true }),
  ],
  [
    'Connect with JSON',
    (baseUrl, interceptors = []) => createConnectTransport({ baseUrl, interceptors, httpVersion: '1.1' }),
  ],
  [
    'Connect over HTTP/2',
    (baseUrl, interceptors = []) => createConnectTransport({ baseUrl, interceptors, httpVersion: '2' }),
  ],
];

export function clientOf<Service extends DescService>(service: Service, transport: Transport): Client<Service> {
  return createClient(service, transport);
}
