import { create, createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { afterEach, describe, expect, it } from 'vitest';
import { Health, HealthCheckResponse_ServingStatus as Status } from '../../gen/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../../gen/grpc/reflection/v1/reflection_pb.ts';
import { ServerReflection as ServerReflectionAlpha } from '../../gen/grpc/reflection/v1alpha/reflection_pb.ts';
import { ProviderSchema } from '../../gen/llmgateway/v1/provider_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import type { Gateway } from '../../src/gateway.ts';
import type { Server } from '../../src/transport/server.ts';
import { clientOf, protocols, scriptedGateway, serveGateway } from './scripted-gateway.ts';

const open: Server[] = [];
afterEach(() => Promise.all(open.splice(0).map((server) => server.close())));

const services = [
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
  'llmgateway.v1.AdminService',
  'llmgateway.v1.CompletionService',
  'llmgateway.v1.EmbeddingService',
  'llmgateway.v1.HealthService',
  'llmgateway.v1.ProviderService',
];

async function serve(
  state = { draining: false },
  authenticate?: () => never,
  listProviders: Gateway['listProviders'] = () => [],
) {
  const served = await serveGateway(scriptedGateway({ listProviders }), {
    draining: () => state.draining,
    ...(authenticate && { authenticate }),
  });
  open.push(served.server);
  return served;
}

const noKey = () => {
  throw new GatewayError('unauthenticated', 'a key is needed');
};

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => ConnectError.from(error).code,
  );

describe.each(protocols)('the health protocol by %s', (_name, transportTo) => {
  it('tells that all services serve, without a key', async () => {
    const { base } = await serve(undefined, noKey);
    const client = clientOf(Health, transportTo(base));

    for (const service of ['', ...services]) expect((await client.check({ service })).status).toBe(Status.SERVING);
    expect(Object.keys((await client.list({})).statuses).sort()).toEqual(['', ...services]);
    expect(await codeOf(client.check({ service: 'nobody' }))).toBe(Code.NotFound);
  });

  it('tells at once when draining begins, and lets watchers go', async () => {
    const state = { draining: false };
    const { base } = await serve(state);
    const client = clientOf(Health, transportTo(base));
    const watch = client.watch({ service: 'llmgateway.v1.CompletionService' })[Symbol.asyncIterator]();
    const unknown = client.watch({ service: 'nobody' })[Symbol.asyncIterator]();

    expect((await watch.next()).value?.status).toBe(Status.SERVING);
    expect((await unknown.next()).value?.status).toBe(Status.SERVICE_UNKNOWN);
    state.draining = true;

    expect((await watch.next()).value?.status).toBe(Status.NOT_SERVING);
    expect(await codeOf(watch.next())).toBe(Code.Unavailable);
    expect(await codeOf(unknown.next())).toBe(Code.Unavailable);
    expect((await client.check({})).status).toBe(Status.NOT_SERVING);
  });

  it('tells of each provider, which no service depends on', async () => {
    const standing = { available: true, healthy: true };
    const ill = create(ProviderSchema, { name: 'ill', status: { available: true, healthy: false } });
    const away = create(ProviderSchema, { name: 'away', status: { available: false, healthy: true } });
    const providers = () => [create(ProviderSchema, { name: 'well', status: standing }), ill, away];
    const { base } = await serve(undefined, noKey, providers);
    const client = clientOf(Health, transportTo(base));

    const { statuses } = await client.list({});
    const told = Object.entries(statuses).filter(([name]) => name.startsWith('provider/') || name === '');
    expect(Object.fromEntries(told.map(([name, { status }]) => [name, status]))).toEqual({
      '': Status.SERVING,
      'provider/well': Status.SERVING,
      'provider/ill': Status.NOT_SERVING,
      'provider/away': Status.NOT_SERVING,
    });
    expect((await client.check({ service: 'provider/ill' })).status).toBe(Status.NOT_SERVING);
    expect(await codeOf(client.check({ service: 'provider/nobody' }))).toBe(Code.NotFound);

    const watch = client.watch({ service: 'provider/well' })[Symbol.asyncIterator]();
    expect((await watch.next()).value?.status).toBe(Status.SERVING);
    standing.healthy = false;
    expect((await watch.next()).value?.status).toBe(Status.NOT_SERVING);
    standing.healthy = true;
    expect((await watch.next()).value?.status).toBe(Status.SERVING);
    await watch.return?.();
  });

  it('ends a watch at the deadline of the watcher', async () => {
    const { base } = await serve();
    const watch = clientOf(Health, transportTo(base)).watch({}, { timeoutMs: 300 })[Symbol.asyncIterator]();

    await watch.next();

    expect(await codeOf(watch.next())).toBe(Code.DeadlineExceeded);
  });
});

type Question = {
  case: 'listServices' | 'fileByFilename' | 'fileContainingSymbol' | 'allExtensionNumbersOfType';
  value: string;
};

async function ask(
  service: typeof ServerReflection | typeof ServerReflectionAlpha,
  base: string,
  ...questions: Question[]
) {
  async function* requests() {
    for (const messageRequest of questions) yield { messageRequest };
  }
  const client = clientOf(service as typeof ServerReflection, createGrpcTransport({ baseUrl: base }));
  const answers = [];
  for await (const { messageResponse } of client.serverReflectionInfo(requests())) answers.push(messageResponse);
  return answers;
}

describe.each([
  ['v1', ServerReflection],
  ['v1alpha', ServerReflectionAlpha],
])('reflection %s', (_version, service) => {
  it('lists every service', async () => {
    const { base } = await serve();

    const [answer] = await ask(service, base, { case: 'listServices', value: '*' });

    const names = answer?.case === 'listServicesResponse' ? answer.value.service.map(({ name }) => name).sort() : [];
    expect(names).toEqual(services);
  });

  it('gives all that is needed to call any of them, and each file once', async () => {
    const { base } = await serve();
    const questions = services.map((value): Question => ({ case: 'fileContainingSymbol', value }));

    const answers = await ask(service, base, ...questions);

    const files: FileDescriptorProto[] = [];
    for (const answer of answers) {
      if (answer.case !== 'fileDescriptorResponse') throw new Error(answer.case);
      files.push(...answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes)));
    }
    const unique = new Map(files.map((file) => [file.name, file]));
    const file: FileDescriptorProto[] = [];
    const add = (one: FileDescriptorProto | undefined) => {
      if (one === undefined || file.includes(one)) return;
      for (const imported of one.dependency) add(unique.get(imported));
      file.push(one);
    };
    unique.forEach(add);
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file }));
    for (const name of services) expect(registry.getService(name)?.methods.length).toBeGreaterThan(0);
    expect(files.length - unique.size).toBeLessThan(services.length);
  });

  it.each([
    'llmgateway.v1.CompletionRequest',
    'llmgateway.v1.CompletionRequest.messages',
    'llmgateway.v1.CompletionService.StreamCompletion',
    'llmgateway.v1.Role',
    'llmgateway.v1.CallFailure',
    'google.rpc.ErrorInfo',
    'buf.validate.field',
    'google.protobuf.Duration',
  ])('knows %s', async (value) => {
    const { base } = await serve();

    const [answer] = await ask(service, base, { case: 'fileContainingSymbol', value });

    expect(answer?.case).toBe('fileDescriptorResponse');
  });

  it('finds files and extensions, and says what it does not know', async () => {
    const { base } = await serve();

    const answers = await ask(
      service,
      base,
      { case: 'fileByFilename', value: 'llmgateway/v1/completion.proto' },
      { case: 'allExtensionNumbersOfType', value: 'google.protobuf.FieldOptions' },
      { case: 'fileByFilename', value: 'nothing.proto' },
      { case: 'fileContainingSymbol', value: 'no.Such' },
      { case: 'allExtensionNumbersOfType', value: 'no.Such' },
    );

    expect(answers[0]?.case).toBe('fileDescriptorResponse');
    expect(answers[1]).toMatchObject({ value: { extensionNumber: expect.arrayContaining([1159]) } });
    for (const answer of answers.slice(2)) {
      expect(answer).toMatchObject({ case: 'errorResponse', value: { errorCode: Code.NotFound } });
    }
  });

  it('needs a key where keys are configured', async () => {
    const { base } = await serve(undefined, noKey);

    expect(await codeOf(ask(service, base, { case: 'listServices', value: '' }))).toBe(Code.Unauthenticated);
  });
});
