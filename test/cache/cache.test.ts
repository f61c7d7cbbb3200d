import { equals } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CacheMode,
  type Completion,
  type CompletionEvent,
  CompletionSchema,
  FinishReason,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import type { AnswerStore } from '../../src/cache/answer-store.ts';
import { callerTag, modelTag } from '../../src/cache/cache.ts';
import { CompletionFold, finished, refusalDelta, replay, started, textDelta } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import { Stop } from '../../src/stop.ts';
import { contextOf } from '../attempt/fake-provider.ts';
import { brokenLaws } from '../support/event-laws.ts';
import { completions } from '../support/random-completion.ts';
import { answering, cacheOver, giving, question, used } from './cached-calls.ts';

function fold(events: readonly CompletionEvent[]): Completion {
  const whole = new CompletionFold();
  for (const event of events) whole.add(event);
  return whole.result();
}

const hello = giving(() => answering(['hel', 'lo']));
const principal = (name: string) => ({ name, tier: 'default', models: [], admin: false });

describe('the response cache', () => {
  it('answers an equal call without going upstream', async () => {
    const { call, asked, counts } = cacheOver(hello);
    const first = await call(question(), { requestId: 'call-1' });
    const second = await call();
    expect(asked.length).toBe(1);
    expect([first.account.cache?.status, second.account.cache?.status]).toEqual(['miss', 'hit']);
    expect(first.account.cache?.key).toBe(second.account.cache?.key);
    expect([counts.hits, counts.misses, counts.stored, counts.hitRate]).toEqual([1, 1, 1, 0.5]);
    expect(brokenLaws(second.events)).toEqual([]);
  });

  it('passes the answer on event by event while it stores it', async () => {
    const { promise: rest, resolve: release } = Promise.withResolvers<void>();
    const { complete } = cacheOver(async function* () {
      yield* answering(['hel']).slice(0, 2);
      await rest;
      yield* answering(['hel']).slice(2);
    });

    const events = complete(question(), contextOf());
    const iterator = events[Symbol.asyncIterator]();
    expect((await iterator.next()).value?.event.case).toBe('started');
    expect((await iterator.next()).value?.event.case).toBe('textDelta');
    release();
    expect((await iterator.next()).value?.event.case).toBe('usage');
  });

  it('gives a hit ids of its own, no cost and no attempts, and the original usage', async () => {
    const { call } = cacheOver(hello);
    const first = fold((await call(question(), { requestId: 'call-1' })).events);
    const { events, account } = await call();
    const second = fold(events);
    expect(second).toMatchObject({
      id: 'chatcmpl-new-1',
      requestId: 'call-2',
      cached: true,
      provider: 'groq',
      model: 'llama-0815',
      cost: { promptUsd: 0, completionUsd: 0, totalUsd: 0 },
      attempts: [],
      usage: used,
    });
    expect(second.choices).toEqual(first.choices);
    expect(second.createdAt?.seconds).toBeGreaterThan(first.createdAt?.seconds ?? 0n);
    expect(first).toMatchObject({ id: 'chatcmpl-first', cached: false, cost: { totalUsd: 3 } });
    expect([account.free, account.cache?.ageMs]).toEqual([true, 0]);
  });

  it('gives back any answer, whole or as a stream, as it was', async () => {
    await fc.assert(
      fc.asyncProperty(completions, async (random) => {
        const completion = {
          ...random,
          choices: random.choices.map((each) => ({ ...each, finishReason: FinishReason.STOP })),
        };
        for (const { message } of completion.choices) {
          for (const part of message?.parts ?? []) {
            if (part.kind.case === 'refusal') part.kind = { case: 'text', value: part.kind.value };
          }
        }
        const { call, asked } = cacheOver(giving(() => [...replay(completion)]));
        await call();
        const { events } = await call();
        expect(asked.length).toBe(completion.choices.length === 0 ? 2 : 1);
        const again = fold(events);
        const { createdAt, cost, duration, ...kept } = completion;
        const plain = { id: '', requestId: '', attempts: [], cached: false };
        const { createdAt: _createdAt, cost: _cost, duration: _duration, ...back } = again;
        expect(equals(CompletionSchema, { ...back, ...plain } as Completion, { ...kept, ...plain } as Completion)).toBe(
          true,
        );
      }),
      { numRuns: 100 },
    );
  });

  it('keeps callers apart, unless the route shares', async () => {
    const apart = cacheOver(hello);
    await apart.call(question(), { principal: principal('a') });
    expect((await apart.call(question(), { principal: principal('b') })).account.cache?.status).toBe('miss');
    expect(apart.asked.length).toBe(2);

    const sharing = cacheOver(hello, { use: { shared: true } });
    await sharing.call(question(), { principal: principal('a') });
    expect((await sharing.call(question(), { principal: principal('b') })).account.cache?.status).toBe('hit');
  });

  it('forgets when the time of the route is over', async () => {
    const { call, pass, asked } = cacheOver(hello, { use: { ttlMs: 1000 } });
    await call();
    pass(999);
    expect((await call()).account.cache).toMatchObject({ status: 'hit', ageMs: 999 });
    pass(1);
    expect((await call()).account.cache?.status).toBe('miss');
    expect(asked.length).toBe(2);
  });

  it('has no say where it is off', async () => {
    const { call, asked, counts } = cacheOver(hello, { use: 'off' });
    await call();
    const { account } = await call();
    expect([asked.length, account.cache, account.free, counts.misses]).toEqual([2, undefined, undefined, 0]);
  });

  it('waits for the targets to be known', async () => {
    const { call, asked } = cacheOver(hello, { later: true });
    await call();
    expect((await call()).account.cache?.status).toBe('hit');
    expect(asked.length).toBe(1);
  });

  it('answers nobody who has left', async () => {
    const { call, complete } = cacheOver(hello);
    await call();
    const stop = new Stop();

    const iterator = complete(question(), contextOf({ signal: stop }))[Symbol.asyncIterator]();
    await iterator.next();
    stop.abort(new GatewayError('cancelled', 'the caller left'));
    await expect(iterator.next()).rejects.toMatchObject({ reason: 'cancelled' });
  });
});

describe('a request controls the cache', () => {
  it('by BYPASS: neither read nor written', async () => {
    const { call, asked, counts } = cacheOver(hello);
    const bypass = question({ options: { cacheMode: CacheMode.BYPASS } });
    expect((await call(bypass)).account.cache).toEqual({ status: 'bypass' });
    expect((await call()).account.cache?.status).toBe('miss');
    expect((await call(bypass)).account.cache?.status).toBe('bypass');
    expect([asked.length, counts.bypasses]).toEqual([3, 2]);
  });

  it('by REFRESH: written and not read', async () => {
    let word = 'old';
    const { call, asked } = cacheOver(giving(() => answering([word])));
    await call();
    word = 'new';
    expect((await call(question({ options: { cacheMode: CacheMode.REFRESH } }))).account.cache?.status).toBe('bypass');
    const { events, account } = await call();
    expect(account.cache?.status).toBe('hit');
    expect(fold(events).choices[0]?.message?.parts[0]?.kind.value).toBe('new');
    expect(asked.length).toBe(2);
  });

  it('by the oldest answer that will do', async () => {
    const { call, pass, asked } = cacheOver(hello);
    const atMost = (seconds: bigint) => question({ options: { cacheMaxAge: { seconds } } });
    await call();
    pass(5000);
    expect((await call(atMost(5n))).account.cache?.status).toBe('hit');
    expect((await call(atMost(4n))).account.cache?.status).toBe('miss');
    expect((await call(atMost(0n))).account.cache?.status).toBe('hit');
    pass(1);
    expect((await call(atMost(0n))).account.cache?.status).toBe('miss');
    expect(asked.length).toBe(3);
  });

  it('by asking for it, where sampling would keep it out', async () => {
    const { call, asked } = cacheOver(hello);
    const sampled = (options = {}) => question({ temperature: 0.7, options });
    expect((await call(sampled())).account.cache).toEqual({ status: 'bypass' });
    expect((await call(sampled({ cacheMode: CacheMode.USE }))).account.cache?.status).toBe('miss');
    expect((await call(sampled({ cacheMode: CacheMode.USE }))).account.cache?.status).toBe('hit');
    expect((await call(sampled({ cacheMaxAge: { seconds: 60n } }))).account.cache?.status).toBe('hit');
    expect((await call(sampled())).account.cache?.status).toBe('bypass');
    expect(asked.length).toBe(3);
  });

  it.each([
    ['at temperature 0', question({ temperature: 0 }), 'hit'],
    ['with the temperature left to the provider', question(), 'hit'],
    ['at a temperature just above 0', question({ temperature: 1e-9 }), 'bypass'],
    [
      'with a tool that the provider carries out',
      question({ tools: [{ kind: { case: 'provider', value: { family: 'openai', json: '{}' } } }] }),
      'bypass',
    ],
    ['with a function', question({ tools: [{ kind: { case: 'function', value: { name: 'clock' } } }] }), 'hit'],
  ] as const)('not, %s', async (_, request, status) => {
    const { call } = cacheOver(hello);
    await call(request);
    expect((await call(request)).account.cache?.status).toBe(status);
  });
});

describe('the cache stores', () => {
  const answers: readonly (readonly [string, () => (CompletionEvent | Error)[], boolean])[] = [
    ['an answer that is whole', () => answering(['hi']), true],
    ['one that wants tools called', () => answering(['hi'], FinishReason.TOOL_CALLS), true],
    ['one that was cut', () => answering(['hi'], FinishReason.LENGTH), false],
    ['one that was withheld', () => answering(['hi'], FinishReason.CONTENT_FILTER), false],
    ['one that ended otherwise', () => answering(['hi'], FinishReason.OTHER), false],
    ['a refusal', () => answering(['hi']).toSpliced(1, 1, refusalDelta(0, 0, 'no')), false],
    ['no choice at all', () => [started('m'), finished(used)], false],
  ];
  it.each(answers)('%s', async (_, answer, isStored) => {
    const { call, asked, counts } = cacheOver(giving(answer));
    await call();
    await call();
    expect([asked.length, counts.stored]).toEqual(isStored ? [1, 1] : [2, 0]);
  });

  it('nothing of a failure, before or within the answer', async () => {
    for (const count of [0, 2]) {
      const failing = () => [...answering(['hi']).slice(0, count), new GatewayError('provider_unavailable', 'down')];
      const { call, asked, counts } = cacheOver(giving(failing));
      for (let times = 0; times < 2; times++) {
        await expect(call()).rejects.toMatchObject({ reason: 'provider_unavailable' });
      }
      expect([asked.length, counts.stored]).toEqual([2, 0]);
    }
  });

  it('nothing of an answer that ends before it is finished', async () => {
    const { call, asked, counts } = cacheOver(giving(() => answering(['hi']).slice(0, -1)));
    await call();
    await call();
    expect([asked.length, counts.stored]).toEqual([2, 0]);
  });

  it('nothing that breaks the laws of events, and passes it on', async () => {
    const broken = () => answering(['hi']).toSpliced(2, 0, textDelta(0, 7, 'a gap'));
    const { call, counts } = cacheOver(giving(broken));
    expect((await call()).events.length).toBe(broken().length);
    expect(counts.stored).toBe(0);
  });

  it('nothing while there is no memory for it', async () => {
    const { call, asked, counts } = cacheOver(hello, { mayStore: () => false });
    await call();
    await call();
    expect([asked.length, counts.stored]).toEqual([2, 0]);
  });

  it('an answer to be found by its model, as it was asked and as it answered, and by its caller', async () => {
    for (const tag of [
      ...['fast', 'llama', 'llama-0815', 'groq/llama', 'groq/llama-0815'].map(modelTag),
      callerTag('tester'),
    ]) {
      const { call, store } = cacheOver(hello);
      await call();
      expect(await store.purge({ tag: modelTag('other') })).toBe(0);
      expect(await store.purge({ tag })).toBe(1);
      expect((await call()).account.cache?.status).toBe('miss');
    }
  });
});

describe('a store that fails', () => {
  const failing: AnswerStore = {
    get: () => Promise.reject(new Error('no connection')),
    set: () => Promise.reject(new Error('no connection')),
    purge: () => 0,
  };

  it('is as good as an empty one', async () => {
    const { call, asked, counts } = cacheOver(hello, { store: failing });
    await call();
    const { events, account } = await call();
    expect(fold(events).choices.length).toBe(1);
    expect([account.cache?.status, asked.length, counts.storeFailures, counts.stored]).toEqual(['miss', 2, 4, 0]);
  });

  it('that gives back what is no answer is too', async () => {
    const { call, asked } = cacheOver(hello, {
      store: { ...failing, get: () => ({ bytes: new Uint8Array([255, 255]), ageMs: 0 }), set: () => {} },
    });
    expect((await call()).account.cache?.status).toBe('miss');
    expect(asked.length).toBe(1);
  });
});

describe('equal calls at the same time', () => {
  it('share one call upstream, whole and streamed alike', async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const { call, asked, counts } = cacheOver(async function* () {
      await held;
      yield* answering(['hel', 'lo']);
    });
    const calls = Array.from({ length: 1000 }, (_, at) =>
      call(question(), { streaming: at % 2 === 0, requestId: `call-${at}` }),
    );
    release();
    const done = await Promise.all(calls);
    expect(asked.length).toBe(1);
    const answers = done.map(({ events }) => fold(events));
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1000);
    expect(answers.every(({ requestId }, at) => requestId === `call-${at}` || at === 0)).toBe(true);
    expect(answers.filter(({ cost }) => cost?.totalUsd === 3).length).toBe(1);
    expect(answers.filter(({ cached }) => cached).length).toBe(999);
    expect(done.filter(({ account }) => account.free).length).toBe(999);
    for (const { choices } of answers) expect(choices).toEqual(answers[0]?.choices);
    expect([counts.misses, counts.hits, counts.shared]).toEqual([1, 999, 999]);
  });

  it('do not share an answer between one who was promised it whole and one who was not', async () => {
    const { call, asked } = cacheOver(hello, { mayStore: () => false });
    await Promise.all([call(), call(question({ options: { guarantee: 1 } })), call()]);
    expect(asked.length).toBe(2);
  });

  it('share, though the store is slow to find nothing and slow to store', async () => {
    const answers = new Map<string, Uint8Array>();
    const slow = () => new Promise<void>((resolve) => setImmediate(resolve));
    const store: AnswerStore = {
      async get(key) {
        const bytes = answers.get(key);
        await slow();
        return bytes && { bytes, ageMs: 0 };
      },
      async set(key, bytes) {
        await slow();
        await slow();
        answers.set(key, bytes);
      },
      purge: () => 0,
    };
    const { call, asked } = cacheOver(hello, { store });
    const calls = [];
    for (let at = 0; at < 30; at++) {
      calls.push(call());
      if (at % 3 === 0) await Promise.resolve();
      if (at % 10 === 9) await slow();
    }
    await Promise.all(calls);
    expect(asked.length).toBe(1);
  });

  it('are charged once, to whoever is left', async () => {
    const steps: (() => void)[] = [];
    const { complete } = cacheOver(async function* (_, { account }) {
      account.spent = { usage: used, cost: undefined };
      for (const event of answering(['a', 'b'])) {
        await new Promise<void>((resolve) => steps.push(resolve));
        yield event;
      }
    });

    const stops = [new Stop(), new Stop()];
    const contexts = stops.map((signal) => contextOf({ account: { tries: 0 }, signal }));
    const [one, other] = contexts.map((context) => complete(question(), context)[Symbol.asyncIterator]());
    const first = one?.next();
    const events: CompletionEvent[] = [];
    const reading = (async () => {
      for (let next = await other?.next(); next?.done === false; next = await other?.next()) events.push(next.value);
    })();
    steps.shift()?.();
    await first;
    stops[0]?.abort(new GatewayError('cancelled', 'left'));
    for (let at = 0; at < 20; at++) {
      await new Promise((resolve) => setImmediate(resolve));
      steps.shift()?.();
    }
    await reading;
    expect(fold(events)).toMatchObject({ cost: { totalUsd: 3 } });
    expect(contexts[1]?.account).toMatchObject({ free: false, spent: { usage: used } });
    expect(contexts[0]?.account.free).toBe(true);
  });
});
