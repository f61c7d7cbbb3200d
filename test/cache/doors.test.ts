import { createHash } from 'node:crypto';
import { create, equals } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from 'vitest';
import { PurgeCacheRequestSchema } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import { type Completion, CompletionSchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import { type Asked, type Door, openDoors } from '../support/doors.ts';
import { type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { chunk, type Exchange, saying, usageChunk, wholeAnswer } from '../support/scripted-upstream.ts';

let scripted: ScriptedGateway | undefined;

afterEach(async () => {
  await scripted?.close();
  scripted = undefined;
});

async function started(more: Record<string, object> = {}): Promise<ScriptedGateway> {
  scripted = await startScriptedGateway({ cache: { enabled: true }, ...more });
  scripted.upstream.script(saying('hel', 'lo'));
  return scripted;
}

function sha256(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

/** What of a completion does not belong to one call. */
function shareOf(completion: Completion): Completion {
  const { createdAt, cost, duration, ...kept } = completion;
  return { ...kept, id: '', requestId: '', cached: false, attempts: [] };
}

describe('an answer from the cache', () => {
  it('is the same at every door, whichever door asked first', async () => {
    const { doors, upstream } = await started();
    for (const [at, first] of doors.all.entries()) {
      const text = `question ${at}`;
      const original = await first.ask({ model: 'both', text });
      expect(original.failure).toBeUndefined();
      expect([first.name, original.headers['x-cache']]).toEqual([first.name, 'MISS']);
      for (const door of doors.all) {
        const { told, headers, failure, completion } = await door.ask({ model: 'both', text });
        expect([door.name, failure, headers['x-cache'], headers.age]).toEqual([door.name, undefined, 'HIT', '0']);
        expect(headers['x-cache-key']).toBe(original.headers['x-cache-key']);
        expect(told.text).toBe('hello');
        expect([door.name, told.usage?.total]).toEqual([door.name, 7]);
        if (!completion) continue;
        expect(completion.cached).toBe(true);
        expect(completion.cost?.totalUsd).toBe(0);
        if (original.completion) {
          expect(equals(CompletionSchema, shareOf(completion), shareOf(original.completion))).toBe(true);
        }
      }
    }
    expect(upstream.requests.length).toBe(doors.all.length);
  });

  it('is nobody else’s: equal bodies of two callers make two calls upstream, at every door', async () => {
    const keys = ['ann', 'bob'].map((name) => ({ name, sha256: sha256(`key-of-${name}`) }));
    const { doors, upstream } = await started({ keys });
    for (const door of doors.all) {
      const ask = (name: string) =>
        door.ask({ model: 'both', text: door.name, headers: { authorization: `Bearer key-of-${name}` } });
      expect((await ask('ann')).headers['x-cache']).toBe('MISS');
      expect((await ask('bob')).headers['x-cache']).toBe('MISS');
      expect((await ask('ann')).headers['x-cache']).toBe('HIT');
      expect((await ask('bob')).headers['x-cache']).toBe('HIT');
    }
    expect(upstream.requests.length).toBe(2 * doors.all.length);
  });

  it('is shared where the route says so', async () => {
    const keys = ['ann', 'bob'].map((name) => ({ name, sha256: sha256(`key-of-${name}`) }));
    const { doors, upstream } = await started({ keys, cache: { enabled: true, shared: true } });
    const door = doors.named('openai unary');
    const ask = (name: string) => door.ask({ model: 'both', headers: { authorization: `Bearer key-of-${name}` } });
    await ask('ann');
    expect((await ask('bob')).headers['x-cache']).toBe('HIT');
    expect(upstream.requests.length).toBe(1);
  });

  it('lives as long as its route says, and only where a route enables it', async () => {
    scripted = await startScriptedGateway();
    await scripted.close();
    scripted = await startScriptedGateway({
      routes: [
        route('kept', { enabled: true, ttl: '60s' }),
        route('brief', { enabled: true, ttl: '50ms' }),
        route('never', { enabled: false }),
      ] as never,
    });
    const { doors, upstream } = scripted;
    upstream.script(saying('hi'));
    const door = doors.named('openai unary');
    const statuses = async (model: string) => {
      const first = (await door.ask({ model })).headers['x-cache'];
      await new Promise((resolve) => setTimeout(resolve, 60));
      return [first, (await door.ask({ model })).headers['x-cache']];
    };
    expect(await statuses('kept')).toEqual(['MISS', 'HIT']);
    expect(await statuses('never')).toEqual([undefined, undefined]);
    // The routes lead to the same target, and an answer is known by that: what was kept for one is young enough for all.
    expect(await statuses('brief')).toEqual(['HIT', 'HIT']);
    expect(upstream.requests.length).toBe(3);
  });

  it('is controlled by Cache-Control, at every door', async () => {
    const { doors, upstream } = await started();
    for (const door of doors.all) {
      const before = upstream.requests.length;
      const ask = async (control?: string) => {
        const headers: Record<string, string> = control ? { 'cache-control': control } : {};
        const { failure, headers: got } = await door.ask({ model: 'both', text: door.name, headers });
        expect(failure).toBeUndefined();
        return got['x-cache'];
      };
      expect([door.name, await ask('no-store'), await ask(), await ask('no-store')]).toEqual([
        door.name,
        'BYPASS',
        'MISS',
        'BYPASS',
      ]);
      expect([await ask('no-cache'), await ask('max-age=60'), await ask()]).toEqual(['BYPASS', 'HIT', 'HIT']);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(await ask('max-age=0')).toBe('MISS');
      expect(upstream.requests.length - before).toBe(5);
    }
  });

  // Who named a provider was given the answer of another one, and shared its call.
  it('is not that of another provider than the caller named, nor of another strategy', async () => {
    const { doors, other } = await started();
    other.script(saying('other'));
    for (const door of doors.all) {
      const ask = async (more: Pick<Asked, 'provider' | 'strategy'>) => {
        const { headers } = await door.ask({ model: 'both', text: door.name, ...more });
        return [headers['x-cache'], headers['x-selected-provider']];
      };
      const named = (['first', 'second', 'first', 'second'] as const).map((provider) => ask({ provider }));
      const providers = (await Promise.all(named)).map(([, provider]) => provider);
      expect([door.name, ...providers]).toEqual([door.name, 'first', 'second', 'first', 'second']);
      expect(await ask({ provider: 'second' })).toEqual(['HIT', 'second']);
      expect((await ask({ strategy: 'failover' }))[0]).toBe('MISS');
      expect((await ask({ strategy: 'highest_quality' }))[0]).toBe('MISS');
    }
  });

  it('is sampled only for those who ask', async () => {
    const { doors } = await started();
    const door = doors.named('openai unary');
    const ask = async (headers: Record<string, string> = {}) => {
      const openaiBody = { messages: [{ role: 'user', content: 'hi' }], temperature: 0.5 };
      return (await door.ask({ model: 'both', openaiBody, headers })).headers['x-cache'];
    };
    expect([await ask(), await ask()]).toEqual(['BYPASS', 'BYPASS']);
    const asking = { 'cache-control': 'max-age=3600' };
    expect([await ask(asking), await ask(asking), await ask()]).toEqual(['MISS', 'HIT', 'BYPASS']);
  });

  it('is never a failure, nor one that was cut', async () => {
    const { doors, upstream, other } = await started();
    const door = doors.named('connect-binary unary');
    for (const answer of [
      (exchange: Exchange) => exchange.json({ error: { message: 'no' } }, 400),
      (exchange: Exchange) =>
        exchange.json({
          ...wholeAnswer('hel'),
          choices: [{ index: 0, message: { role: 'assistant', content: 'hel' }, finish_reason: 'length' }],
        }),
    ]) {
      upstream.script(answer);
      other.script(answer);
      const before = upstream.requests.length;
      const text = `question ${before}`;
      await door.ask({ model: 'both', text });
      await door.ask({ model: 'both', text });
      expect(upstream.requests.length - before).toBe(2);
    }
  });
});

describe('a body that comes again and again', () => {
  const restDoors = ['openai unary', 'openai stream', 'native unary', 'native stream'] as const;
  const bearer = (name: string) => ({ authorization: `Bearer key-of-${name}` });

  it('is answered as the first time, with ids of its own', async () => {
    const { doors, upstream } = await started();
    for (const name of restDoors) {
      const door = doors.named(name);
      const outcomes = [];
      for (let time = 0; time < 6; time++) {
        const headers = { 'x-request-id': `call-${time}` };
        outcomes.push(await door.ask({ model: 'both', text: name, headers }));
      }
      const [first, ...others] = outcomes;
      for (const [at, { told, headers }] of others.entries()) {
        expect([name, headers['x-cache'], headers['x-request-id']]).toEqual([name, 'HIT', `call-${at + 1}`]);
        expect(told).toEqual(first?.told);
        expect(headers['x-cache-key']).toBe(first?.headers['x-cache-key']);
      }
    }
    expect(upstream.requests.length).toBe(restDoors.length);
  });

  it('gets the answer that was stored last', async () => {
    const { doors, upstream } = await started();
    const door = doors.named('openai unary');
    const ask = async (headers = {}) => (await door.ask({ model: 'both', headers })).told.text;
    for (let time = 0; time < 4; time++) expect(await ask()).toBe('hello');
    upstream.script(saying('another'));
    expect(await ask({ 'cache-control': 'no-cache' })).toBe('another');
    for (let time = 0; time < 4; time++) expect(await ask()).toBe('another');
  });

  it('is still what its headers make of it', async () => {
    const { doors, upstream } = await started();
    for (const name of restDoors) {
      const ask = async (headers = {}) => (await doors.named(name).ask({ model: 'both', text: name, headers })).headers;
      for (let time = 0; time < 4; time++) await ask();
      const before = upstream.requests.length;
      expect((await ask({ 'cache-control': 'no-store' }))['x-cache']).toBe('BYPASS');
      expect((await ask({ 'cache-control': 'max-age=0' }))['x-cache']).toBe('MISS');
      const twice = [await ask({ 'idempotency-key': name }), await ask({ 'idempotency-key': name })];
      expect(twice.map((headers) => headers['idempotent-replayed'])).toEqual([undefined, 'true']);
      expect((await ask())['x-cache']).toBe('HIT');
      expect(upstream.requests.length - before).toBe(2);
    }
  });

  it('is each caller’s own', async () => {
    const keys = ['ann', 'bob'].map((name) => ({ name, sha256: sha256(`key-of-${name}`) }));
    const { doors, upstream } = await started({ keys });
    const door = doors.named('openai unary');
    const ask = async (name: string) => (await door.ask({ model: 'both', headers: bearer(name) })).told.text;
    for (let time = 0; time < 4; time++) expect(await ask('ann')).toBe('hello');
    upstream.script(saying('another'));
    for (let time = 0; time < 4; time++) expect([await ask('bob'), await ask('ann')]).toEqual(['another', 'hello']);
    expect(upstream.requests.length).toBe(2);
  });

  it('goes upstream once its answer is forgotten', async () => {
    const { doors, gateway, upstream } = await started();
    const door = doors.named('openai unary');
    for (let time = 0; time < 4; time++) await door.ask({ model: 'both' });
    await gateway.app.gateway.purgeCache(create(PurgeCacheRequestSchema, { selection: { case: 'all', value: true } }));
    expect((await door.ask({ model: 'both' })).headers['x-cache']).toBe('MISS');
    expect((await door.ask({ model: 'both' })).headers['x-cache']).toBe('HIT');
    expect(upstream.requests.length).toBe(2);
    expect(upstream.requests[1]?.body).toEqual(upstream.requests[0]?.body);
  });
});

function route(model: string, cache: object): object {
  return { model, targets: [{ provider: 'first', model: 'scripted-model' }], cache };
}

describe('a thousand equal calls at the same time', () => {
  it('make one call upstream, through every door, whole and streamed', async () => {
    const { gateway, upstream } = await started();
    upstream.script(undefined);
    // One set of doors has no connections for so many.
    const sets = Array.from({ length: 4 }, () => openDoors(gateway.url));
    const all = sets.flatMap((set) => set.all);
    const calls = Array.from({ length: 1000 }, (_, at) => (all[at % all.length] as Door).ask({ model: 'both' }));
    const exchange = await upstream.next();
    upstream.script(() => {
      throw new Error('one was enough');
    });
    await until(() => gateway.app.inFlight() === 1000);
    if (exchange.request.body?.stream === true) {
      for (const word of ['hel', 'lo']) await exchange.event(chunk({ content: word }));
      await exchange.event(chunk({}, 'stop'));
      await exchange.event(usageChunk);
      exchange.done();
    } else exchange.json(wholeAnswer('hello'));
    const outcomes = await Promise.all(calls);
    expect(outcomes.filter(({ failure }) => failure).map(({ failure }) => failure?.message)).toEqual([]);
    expect(upstream.requests.length).toBe(1);
    expect(new Set(outcomes.map(({ told }) => told.text))).toEqual(new Set(['hello']));
    expect(outcomes.filter(({ headers }) => headers['x-cache'] === 'MISS').length).toBe(1);
    expect(outcomes.filter(({ headers }) => headers['x-cache'] === 'HIT').length).toBe(999);
    const completions = outcomes.flatMap(({ completion }) => completion ?? []);
    expect(new Set(completions.map(({ id }) => id)).size).toBe(completions.length);
    await Promise.all(sets.map((set) => set.close()));
  }, 60_000);

  it('go upstream each where their callers want no cache', async () => {
    const { doors, upstream } = await started();
    const door = doors.named('openai unary');
    await Promise.all(
      Array.from({ length: 20 }, () => door.ask({ model: 'both', headers: { 'cache-control': 'no-store' } })),
    );
    expect(upstream.requests.length).toBe(20);
  });

  it('end for the one that leaves, and for the provider when all have left', async () => {
    const { doors, upstream } = await started();
    upstream.script(undefined);
    const leavers = [new AbortController(), new AbortController()];
    const calls = leavers.map(({ signal }, at) =>
      doors.named(at === 0 ? 'openai stream' : 'grpc stream').ask({ model: 'both', signal }),
    );
    const exchange = await upstream.next();
    await until(() => scripted?.gateway.app.inFlight() === 2);
    await exchange.event(chunk({ content: 'hel' }));
    leavers[0]?.abort();
    await calls[0];
    await until(() => scripted?.gateway.app.inFlight() === 1);
    expect(upstream.openAnswers()).toBe(1);
    leavers[1]?.abort();
    await calls[1];
    expect(await exchange.closed).toEqual({ left: true });
    await until(() => scripted?.gateway.app.inFlight() === 0);
  });
});

describe('a call that comes again with its idempotency key', () => {
  it('gets the same answer, at every door', async () => {
    const { doors, upstream } = await started({ cache: { enabled: false } });
    for (const door of doors.all) {
      const before = upstream.requests.length;
      const ask = () => door.ask({ model: 'both', headers: { 'idempotency-key': `key of ${door.name}` } });
      const first = await ask();
      const second = await ask();
      expect(first.headers['idempotent-replayed']).toBeUndefined();
      expect([door.name, second.headers['idempotent-replayed']]).toEqual([door.name, 'true']);
      expect(second.told).toEqual(first.told);
      expect(second.completion?.id).toBe(first.completion?.id);
      expect(upstream.requests.length - before).toBe(1);
    }
  });

  it('is a conflict with another request, in the words of each door', async () => {
    const { doors, upstream } = await started();
    for (const door of doors.all) {
      const ask = (text: string) => door.ask({ model: 'both', text, headers: { 'idempotency-key': door.name } });
      await ask(`a ${door.name}`);
      const { failure } = await ask('b');
      if (door.family === 'rpc')
        expect(failure).toMatchObject({ code: 'already_exists', reason: 'idempotency_conflict' });
      else expect(failure).toMatchObject({ status: 409 });
    }
    expect(upstream.requests.length).toBe(doors.all.length);
  });

  it('gets the same refusal of its provider, and another try after a failure that may pass', async () => {
    const { doors, upstream, other } = await started();
    const door = doors.named('openai unary');
    for (const [status, calls] of [
      [422, 1],
      [500, 2],
    ] as const) {
      const before = upstream.requests.length;
      upstream.script((exchange) => exchange.json({ error: { message: 'no' } }, status));
      other.script((exchange) => exchange.json({ error: { message: 'no' } }, status));
      const ask = () => door.ask({ model: 'both', headers: { 'idempotency-key': String(status) } });
      const failures = [await ask(), await ask()].map(({ failure }) => [failure?.status, failure?.message]);
      expect(failures[1]).toEqual(failures[0]);
      expect(upstream.requests.length - before).toBe(calls);
    }
  });
});

describe('a call that failed for good and comes again with its idempotency key', () => {
  it('is told that it failed before, at every door', async () => {
    const { doors, upstream, other } = await started();
    for (const each of [upstream, other]) each.script((exchange) => exchange.json({ error: { message: 'no' } }, 422));
    for (const door of doors.all) {
      const ask = () => door.ask({ model: 'both', headers: { 'idempotency-key': `key of ${door.name}` } });
      const replayed = [await ask(), await ask()].map(({ headers }) => headers['idempotent-replayed']);
      expect([door.name, ...replayed]).toEqual([door.name, undefined, 'true']);
    }
  });
});

async function until(holds: () => boolean): Promise<void> {
  const limit = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > limit) throw new Error('it never came to that');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
