import { createClient, type Transport } from '@connectrpc/connect';
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from '@connectrpc/connect-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EmbeddingService } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { ProviderService } from '../../gen/llmgateway/v1/provider_service_pb.ts';
import { rpcFailure } from '../support/doors.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { type Oracle, type ReplayServer, recordings, startReplay } from '../support/replay.ts';
import { loadRecorded, modelOf, providerFor, providerName, type Recorded } from './recorded.ts';

const none = { oracle: undefined as unknown as Oracle, recorded: [] };
const { oracle, recorded: embeddings } = recordings.missing ? none : await loadRecorded('embeddings');
const { recorded: lists } = recordings.missing ? none : await loadRecorded('models');

describe.skipIf(recordings.missing)('recorded embeddings and model lists', () => {
  let replay: ReplayServer;
  let gateway: TestGateway;
  let sessions: Http2SessionManager;
  let transports: [string, Transport][];

  beforeAll(async () => {
    replay = await startReplay();
    gateway = await startGateway({
      providers: [...embeddings, ...lists].map((each) => providerFor(each, replay.url)),
      retry: { attempts_per_target: 1, attempts: 1 },
    });
    const baseUrl = gateway.url;
    sessions = new Http2SessionManager(baseUrl);
    transports = [
      ['grpc', createGrpcTransport({ baseUrl, sessionManager: sessions })],
      ['grpc-web', createGrpcWebTransport({ baseUrl, httpVersion: '1.1' })],
      ['connect binary', createConnectTransport({ baseUrl, httpVersion: '1.1', useBinaryFormat: true })],
      ['connect JSON', createConnectTransport({ baseUrl, httpVersion: '1.1', useBinaryFormat: false })],
      ['connect GET', createConnectTransport({ baseUrl, httpVersion: '1.1', useHttpGet: true })],
    ];
  });
  afterAll(async () => {
    sessions?.abort();
    await gateway?.close();
    await replay?.close();
  });

  function post(path: string, body: object): Promise<Response> {
    const headers = { 'content-type': 'application/json' };
    return fetch(`${gateway.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  }

  it.each(named(embeddings))('%s comes out equal at every door', async (_, each) => {
    const { expectation } = each;
    const texts = (expectation.embeddings ?? ['']).map((_, index) => `text ${index}`);
    const asked = { model: modelOf(each), options: { provider: providerName(each), fallback: false } };
    const inputs = texts.map((text) => ({ kind: { case: 'text' as const, value: text } }));
    const flat = { model: asked.model, provider: providerName(each), fallback: false, input: texts };
    const classes = oracle.classesOf(expectation).map((word) => oracle.ERROR_TABLE[word]);

    for (const [name, transport] of transports) {
      const client = createClient(EmbeddingService, transport);
      const answer = await client.createEmbeddings({ request: { ...asked, inputs } }).catch(rpcFailure);
      if (oracle.mustFail(expectation)) {
        expect([name, answer]).toEqual([name, expect.objectContaining({ code: expect.any(String) })]);
        expect(classes.map((row) => row?.connect)).toContain('code' in answer ? answer.code : '');
        continue;
      }
      const result = 'result' in answer ? answer.result : undefined;
      expect(result?.embeddings).toHaveLength(texts.length);
      for (const [index, { values }] of (result?.embeddings ?? []).entries())
        expectVector(values, expectation.embeddings?.[index]);
      const { prompt } = expectation.usage as { prompt: unknown };
      expect([name, oracle.same(prompt, result?.usage?.promptTokens)]).toEqual([name, true]);
    }
    for (const encoding_format of ['float', 'base64']) {
      const answer = await post('/v1/embeddings', { ...flat, encoding_format });
      const body = await answer.json();
      if (oracle.mustFail(expectation)) {
        expect(classes).toContainEqual(expect.objectContaining({ http: answer.status, type: body.error.type }));
        continue;
      }
      expect(answer.status).toBe(200);
      for (const [index, { embedding }] of body.data.entries()) {
        const values = typeof embedding === 'string' ? floats(embedding) : embedding;
        expectVector(values, expectation.embeddings?.[index]);
      }
    }
  });

  /** A vector is the recorded one to the precision of 32 bits; where the oracle cannot read it, any will do. */
  function expectVector(got: readonly number[], want: unknown): void {
    if (want === oracle.ANY) expect(got.length).toBeGreaterThan(0);
    else expect(got.map(Math.fround)).toEqual((want as number[]).map(Math.fround));
  }

  it.each(named(lists))('%s is listed the same at every door', async (_, each) => {
    const body = JSON.parse(each.recording.response.body);
    const ids: string[] = (Array.isArray(body) ? body : body.data).map(({ id }: { id: string }) => id);
    for (const [name, transport] of transports) {
      const { models } = await createClient(ProviderService, transport).listModels({ provider: providerName(each) });
      expect([name, models.map(({ id }) => id)]).toEqual([name, expect.arrayContaining(ids)]);
      expect(models.every(({ provider }) => provider === providerName(each))).toBe(true);
    }
    const listed = (await (await fetch(`${gateway.url}/v1/models`)).json()) as { data: { id: string }[] };
    expect(listed.data.map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
    for (const id of ids) {
      const one = await fetch(`${gateway.url}/v1/models/${id}`);
      expect([one.status, await one.json()]).toEqual([200, expect.objectContaining({ id, object: 'model' })]);
    }
  });
});

function named(all: readonly Recorded[]): [string, Recorded][] {
  return all.map((each) => [each.recording.id, each]);
}

function floats(base64: string): number[] {
  const bytes = Uint8Array.from(Buffer.from(base64, 'base64'));
  return [...new Float32Array(bytes.buffer)];
}
