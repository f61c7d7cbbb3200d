import { create } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  AttemptOutcome,
  type Completion,
  type CompletionEvent,
  type CompletionRequest,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import {
  type EmbeddingRequest,
  EmbeddingRequestSchema,
  EmbeddingResultSchema,
} from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { idempotent } from '../../src/cache/idempotency.ts';
import { completionFingerprint, idempotencyName } from '../../src/cache/key.ts';
import { MemoryOutcomes } from '../../src/cache/memory-outcomes.ts';
import { completionOutcomes, embeddingOutcomes } from '../../src/cache/outcome-form.ts';
import type { OutcomeStore } from '../../src/cache/outcome-store.ts';
import { RedisOutcomes } from '../../src/cache/redis-outcomes.ts';
import { SingleFlight } from '../../src/cache/single-flight.ts';
import { type CallContext, CompletionFold } from '../../src/completion.ts';
import { GatewayError, type Reason } from '../../src/errors.ts';
import { Room } from '../../src/room.ts';
import { Stop } from '../../src/stop.ts';
import { CacheCounts } from '../../src/telemetry/cache-counts.ts';
import { aborted, contextOf } from '../attempt/fake-provider.ts';
import { brokenLaws } from '../support/event-laws.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { answering, giving, question } from './cached-calls.ts';
import { newPrefix, type OpenRedis, openRedis } from './open-redis.ts';

type Answer = (request: CompletionRequest, context: CallContext) => AsyncIterable<CompletionEvent>;

/** A replica with its upstream, and how to call it. */
function replicaOver(
  answer: Answer,
  store: OutcomeStore = new MemoryOutcomes({ maxBytes: 1_000_000 }),
  leaseMs = 1000,
) {
  const counts = new CacheCounts();
  const flights = new SingleFlight<CompletionEvent>({
    isLast: ({ event }) => event.case === 'finished',
    sizeOf: () => 100,
  });
  const asked: CompletionRequest[] = [];
  const room = new Room(1_000_000);
  const form = completionOutcomes(() => 100, room);
  const layer = idempotent({ store, flights, form, ttlMs: 60_000, leaseMs, counts, random: () => 0.5 });
  const complete = layer((request, context) => {
    asked.push(request);
    return answer(request, context);
  });
  return {
    counts,
    asked,
    room,
    complete,
    async call(request: CompletionRequest, context: Partial<CallContext> = {}) {
      const own = contextOf({ account: { tries: 0 }, ...context });
      const events: CompletionEvent[] = [];
      for await (const event of complete(request, own)) events.push(event);
      return { events, account: own.account };
    },
  };
}

const keyed = (idempotencyKey = 'k1', fields = {}) => question({ options: { idempotencyKey }, ...fields });
const hello = giving(() => answering(['hel', 'lo']));

function fold(events: readonly CompletionEvent[]): Completion {
  const whole = new CompletionFold();
  for (const event of events) whole.add(event);
  return whole.result();
}

const failingOnce = (error: GatewayError) => {
  let times = 0;
  return giving(() => (times++ === 0 ? [...answering(['hel']).slice(0, 1), error] : answering(['hello'])));
};

describe('a call with an idempotency key', () => {
  it('gets what became of it the first time, under its new request id', async () => {
    const { call, asked, counts } = replicaOver(hello);
    const first = await call(keyed(), { requestId: 'call-1' });
    const second = await call(keyed(), { requestId: 'call-2' });
    expect(asked.length).toBe(1);
    expect(fold(second.events)).toEqual({ ...fold(first.events), requestId: 'call-2' });
    expect(brokenLaws(second.events)).toEqual([]);
    expect([first.account.repeated, second.account.repeated, second.account.free]).toEqual([undefined, true, true]);
    expect(counts.repeats).toBe(1);
  });

  it('is carried out each time without a key, and for each key', async () => {
    const { call, asked } = replicaOver(hello);
    for (const request of [question(), question(), keyed('a'), keyed('b')]) await call(request);
    expect(asked.length).toBe(4);
  });

  it('is a conflict with another request, known or not', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const { call, asked } = replicaOver(async function* () {
      await held;
      yield* answering(['hi']);
    });
    const conflict = { reason: 'idempotency_conflict', violations: [{ field: 'options.idempotency_key' }] };
    const first = call(keyed());
    await expect(call(keyed('k1', { temperature: 1 }))).rejects.toMatchObject(conflict);
    release();
    await first;
    await expect(call(keyed('k1', { model: 'other' }))).rejects.toMatchObject(conflict);
    expect(asked.length).toBe(1);
  });

  it('never meets that of another caller', async () => {
    const { call, asked } = replicaOver(hello);
    const as = (name: string) => ({ principal: { name, tier: 'default', models: [], admin: false } });
    await call(keyed(), as('a'));
    await call(keyed('k1', { temperature: 1 }), as('b'));
    expect(asked.length).toBe(2);
  });

  it('is joined while it is carried out, by streams and whole answers', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const { call, asked, counts } = replicaOver(async function* () {
      yield* answering(['hel']).slice(0, 2);
      await held;
      yield* answering(['hel']).slice(2);
    });
    const calls = Array.from({ length: 20 }, (_, at) =>
      call(keyed(), { streaming: at % 2 === 0, requestId: `r${at}` }),
    );
    release();
    const done = await Promise.all(calls);
    expect(asked.length).toBe(1);
    expect(done.map(({ events }) => fold(events).requestId)).toEqual(done.map((_, at) => `r${at}`));
    expect(done.filter(({ account }) => account.free).length).toBe(19);
    expect(counts.repeats).toBe(19);
  });

  it.each<Reason>(['provider_rejected', 'context_length', 'invalid_request', 'model_not_found'])(
    'gets the same failure again where the request is to blame: %s',
    async (reason) => {
      const attempts = [
        {
          $typeName: 'llmgateway.v1.Attempt' as const,
          provider: 'groq',
          model: 'llama',
          outcome: AttemptOutcome.FAILED,
          reason,
          providerRequestId: 'p-1',
        },
      ];
      const violations = [{ field: 'messages', description: 'too long: "ü"' }];
      const error = new GatewayError(reason, 'no: ü', {
        provider: 'groq',
        providerCode: 'content_filter',
        providerStatus: 400,
        violations,
        cause: new Error('a secret'),
      });
      error.attempts = attempts;
      const { call, asked } = replicaOver(failingOnce(error));
      const failures = [];
      for (let times = 0; times < 2; times++) failures.push(await call(keyed()).catch((caught) => caught));
      expect(asked.length).toBe(1);
      expect(failures[0]).toBe(error);
      expect(failures[1]).toBeInstanceOf(GatewayError);
      const said = {
        reason,
        message: 'no: ü',
        provider: 'groq',
        providerCode: 'content_filter',
        providerStatus: 400,
        violations,
      };
      expect(failures[1]).toMatchObject({ ...said, attempts });
      expect(failures[1].cause).toBeUndefined();
    },
  );

  it.each<Reason>([
    'provider_unavailable',
    'provider_timeout',
    'deadline_exceeded',
    'overloaded',
    'internal',
    'rate_limited',
  ])('is carried out again after a failure that may pass: %s', async (reason) => {
    const { call, asked } = replicaOver(failingOnce(new GatewayError(reason, 'no')));
    await expect(call(keyed())).rejects.toMatchObject({ reason });
    await call(keyed());
    expect(asked.length).toBe(2);
  });

  it('is carried out again when its caller left before the end', async () => {
    const { complete, call, asked, room } = replicaOver(async function* (_, { signal }) {
      yield* answering(['hel']).slice(0, 2);
      if (asked.length === 1) await aborted(signal);
      yield* answering(['hel']).slice(2);
    });
    const stop = new Stop();
    const iterator = complete(keyed(), contextOf({ signal: stop }))[Symbol.asyncIterator]();
    await iterator.next();
    await iterator.next();
    const waiting = expect(iterator.next()).rejects.toMatchObject({ reason: 'cancelled' });
    stop.abort(new GatewayError('cancelled', 'left'));
    await waiting;
    await expect.poll(() => room.bytes).toBe(0);
    await call(keyed());
    expect([asked.length, room.bytes]).toEqual([2, 0]);
  });

  it('keeps an answer before its last event is passed on', async () => {
    const kept: number[] = [];
    const memory = new MemoryOutcomes({ maxBytes: 1_000_000 });
    const store: OutcomeStore = {
      claim(key, fingerprint) {
        const claim = memory.claim(key, fingerprint);
        if (claim.state !== 'claimed') return claim;
        const settle = async (outcome: Uint8Array, ttlMs: number) => {
          await new Promise((resolve) => setTimeout(resolve, 20));
          kept.push(outcome.byteLength);
          claim.lease.settle(outcome, ttlMs);
        };
        return { state: 'claimed', lease: { ...claim.lease, settle } };
      },
    };
    const { complete } = replicaOver(hello, store);
    const before: number[] = [];
    for await (const event of complete(keyed(), contextOf())) {
      if (event.event.case === 'textDelta') before.push(kept.length);
      if (event.event.case === 'finished') expect(kept.length).toBe(1);
    }
    expect(before).toEqual([0, 0]);
  });

  it('holds its claim for as long as it takes', async () => {
    let renewed = 0;
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const store: OutcomeStore = {
      claim: () => ({ state: 'claimed', lease: { renew: () => renewed++, settle: () => {}, release: () => {} } }),
    };
    const { call } = replicaOver(
      async function* () {
        await held;
        yield* answering(['hi']);
      },
      store,
      30,
    );
    const calling = call(keyed());
    await expect.poll(() => renewed).toBeGreaterThan(2);
    release();
    await calling;
    const before = renewed;
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(renewed).toBe(before);
  });
});

describe('an embedding with an idempotency key', () => {
  it('gets the vectors of the first time', async () => {
    let asked = 0;
    const layer = idempotent<EmbeddingRequest, ReturnType<typeof vectors>>({
      store: new MemoryOutcomes({ maxBytes: 1_000_000 }),
      flights: new SingleFlight({ isLast: () => true, sizeOf: () => 100 }),
      form: embeddingOutcomes,
      ttlMs: 60_000,
      leaseMs: 1000,
      counts: new CacheCounts(),
      random: Math.random,
    });
    const vectors = () => create(EmbeddingResultSchema, { id: 'embd-1', embeddings: [{ values: [0.5, 0.25] }] });
    const embed = layer(async function* () {
      asked++;
      yield vectors();
    });
    const request = (text: string) =>
      create(EmbeddingRequestSchema, {
        inputs: [{ kind: { case: 'text', value: text } }],
        options: { idempotencyKey: 'k' },
      });
    const ask = async (text: string, requestId: string) => {
      for await (const result of embed(request(text), contextOf({ requestId }))) return result;
      throw new Error('nothing came');
    };
    expect((await ask('a', '1')).requestId).toBe('1');
    expect(await ask('a', '2')).toMatchObject({ id: 'embd-1', requestId: '2', embeddings: [{ values: [0.5, 0.25] }] });
    await expect(ask('b', '3')).rejects.toMatchObject({ reason: 'idempotency_conflict' });
    expect(asked).toBe(1);
  });
});

describe.skipIf(withoutRedis)('replicas that share a Redis', () => {
  let server: RedisServer;
  let redis: OpenRedis;
  beforeAll(async () => {
    server = await startRedis();
    redis = await openRedis(server.url);
  });
  afterAll(async () => {
    redis?.close();
    await server?.close();
  });

  function replicas(answer: Answer, leaseMs = 1000) {
    const keyPrefix = newPrefix();
    return [0, 1].map(() => replicaOver(answer, new RedisOutcomes({ redis, keyPrefix, leaseMs }), leaseMs)) as [
      ReturnType<typeof replicaOver>,
      ReturnType<typeof replicaOver>,
    ];
  }

  it('know each other’s outcomes', async () => {
    const [one, other] = replicas(hello);
    const first = await one.call(keyed(), { requestId: 'r1' });
    const second = await other.call(keyed(), { requestId: 'r2' });
    expect(other.asked.length).toBe(0);
    expect(fold(second.events)).toEqual({ ...fold(first.events), requestId: 'r2' });
    await expect(other.call(keyed('k1', { temperature: 1 }))).rejects.toMatchObject({ reason: 'idempotency_conflict' });
  });

  it('wait for each other', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const [one, other] = replicas(async function* () {
      await held;
      yield* answering(['hi']);
    });
    const calls = [one.call(keyed()), other.call(keyed()), other.call(keyed())];
    await new Promise((resolve) => setTimeout(resolve, 150));
    release();
    const done = await Promise.all(calls);
    expect(one.asked.length + other.asked.length).toBe(1);
    expect(new Set(done.map(({ events }) => fold(events).id)).size).toBe(1);
  });

  it('take over from one that has gone, once its claim has run out', async () => {
    const keyPrefix = newPrefix();
    const gone = new RedisOutcomes({ redis, keyPrefix, leaseMs: 100 });
    const { call, asked } = replicaOver(hello, new RedisOutcomes({ redis, keyPrefix, leaseMs: 100 }), 100);
    await gone.claim(idempotencyName('tester', 'k1'), completionFingerprint(keyed()));
    const began = performance.now();
    await call(keyed());
    expect(performance.now() - began).toBeGreaterThan(50);
    expect(asked.length).toBe(1);
  });

  it('do not keep a caller waiting who has left', async () => {
    const [one, other] = replicas(async function* (_, { signal }) {
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      yield* answering([]);
    });
    const stops = [new Stop(), new Stop()];
    const calls = [one, other].map(({ call }, at) => call(keyed(), { signal: stops[at] as Stop }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const stop of stops.toReversed()) stop.abort(new GatewayError('cancelled', 'left'));
    for (const call of calls) await expect(call).rejects.toMatchObject({ reason: 'cancelled' });
    expect([one.asked.length, other.asked.length]).toEqual([1, 0]);
  });
});
