import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AdminService, PurgeCacheRequestSchema } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import { purgeAnswers } from '../../src/cache/purge.ts';
import { type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { saying } from '../support/scripted-upstream.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const as = (name: string) => ({ authorization: `Bearer key-of-${name}` });

let scripted: ScriptedGateway;
beforeEach(async () => {
  const names = ['ann', 'bob'];
  scripted = await startScriptedGateway({
    cache: { enabled: true },
    keys: [
      ...names.map((name) => ({ name, sha256: sha256(`key-of-${name}`) })),
      { name: 'ops', sha256: sha256('key-of-ops'), admin: true },
    ] as never,
  });
  scripted.upstream.script(saying('hi'));
});
afterEach(() => scripted.close());

/** Ask, and tell whether the cache answered. */
async function ask(name: string, text = 'hi', model = 'both') {
  const { headers } = await scripted.doors.named('openai unary').ask({ model, text, headers: as(name) });
  return { status: headers['x-cache'], key: headers['x-cache-key'] ?? '' };
}

async function purgeByRest(body: object, headers: Record<string, string> = as('ops')) {
  const answer = await fetch(`${scripted.gateway.url}/admin/cache/purge`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}

function client(name = 'ops') {
  const transport = createConnectTransport({
    baseUrl: scripted.gateway.url,
    httpVersion: '1.1',
    interceptors: [
      (next) => (request) => {
        request.header.set('authorization', as(name).authorization);
        return next(request);
      },
    ],
  });
  return createClient(AdminService, transport);
}

describe('purging the cache', () => {
  it.each(['both', 'scripted-model', 'first/scripted-model'])('by the model %s forgets its answers', async (model) => {
    await ask('ann');
    expect(await purgeByRest({ model: 'another' })).toMatchObject({ status: 200, body: { purged: 0 } });
    expect((await ask('ann')).status).toBe('HIT');
    expect(await purgeByRest({ model })).toEqual({
      status: 200,
      body: { message: '1 cached answers purged', purged: 1 },
    });
    expect((await ask('ann')).status).toBe('MISS');
  });

  it('by key forgets the one answer that has it in its headers', async () => {
    const { key } = await ask('ann', 'one');
    await ask('ann', 'other');
    const { purged } = await client().purgeCache({ selection: { case: 'key', value: key } });
    expect(purged).toBe(1);
    expect([(await ask('ann', 'one')).status, (await ask('ann', 'other')).status]).toEqual(['MISS', 'HIT']);
  });

  it('by caller forgets what one caller was answered', async () => {
    await ask('ann');
    await ask('bob');
    expect((await client().purgeCache({ selection: { case: 'caller', value: 'ann' } })).purged).toBe(1);
    expect([(await ask('ann')).status, (await ask('bob')).status]).toEqual(['MISS', 'HIT']);
  });

  it('of all forgets everything', async () => {
    for (const name of ['ann', 'bob']) await ask(name);
    expect((await client().purgeCache({ selection: { case: 'all', value: true } })).purged).toBe(2);
    expect([(await ask('ann')).status, (await ask('bob')).status]).toEqual(['MISS', 'MISS']);
    expect(await purgeByRest({ all: true })).toMatchObject({ body: { purged: 2 } });
  });

  it('is for administrators only', async () => {
    await ask('ann');
    expect((await purgeByRest({ all: true }, as('ann'))).status).toBe(403);
    expect((await purgeByRest({ all: true }, {})).status).toBe(401);
    await expect(client('ann').purgeCache({ selection: { case: 'all', value: true } })).rejects.toMatchObject({
      code: Code.PermissionDenied,
    });
    expect((await ask('ann')).status).toBe('HIT');
  });

  it.each([
    [{}, 'one of model, key, caller, all is required'],
    [{ all: false }, 'must be true'],
    [{ model: '' }, 'must not be empty'],
    [{ key: 'abc' }, '64 hexadecimal digits'],
    [{ model: 'a', caller: 'b' }, 'caller: cannot be given beside model'],
    [{ modle: 'a' }, 'modle'],
    [{ all: 'yes' }, 'all'],
  ])('refuses %j', async (body, message) => {
    const answer = await purgeByRest(body);
    expect([answer.status, answer.body.message]).toEqual([400, expect.stringContaining(message)]);
  });

  it('names what is missing by rpc too', async () => {
    const error = ConnectError.from(
      await client()
        .purgeCache({})
        .catch((caught) => caught),
    );
    expect([error.code, error.rawMessage]).toEqual([
      Code.InvalidArgument,
      expect.stringContaining('model, key, caller and all'),
    ]);
  });

  it('tells when the store does not answer', async () => {
    const store = { get: () => undefined, set: () => {}, purge: () => Promise.reject(new Error('no connection')) };
    const request = create(PurgeCacheRequestSchema, { selection: { case: 'all', value: true } });
    await expect(purgeAnswers(store, request)).rejects.toMatchObject({ reason: 'overloaded', retryAfterMs: 1000 });
  });
});
