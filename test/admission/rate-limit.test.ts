import { describe, expect, it, vi } from 'vitest';
import type { CompletionEvent, CompletionRequest, Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { nanoUsd } from '../../src/admission/budget.ts';
import type { Demand, Reserve } from '../../src/admission/call-limits.ts';
import { Leases } from '../../src/admission/leases.ts';
import { limitCalls } from '../../src/admission/rate-limit.ts';
import { type Account, type CallContext, type Completer, finished, started, textDelta } from '../../src/completion.ts';
import { MemoryLimits } from '../../src/store/memory.ts';
import type { Limit, LimitStore, Taken } from '../../src/store/store.ts';
import { contextOf, requestOf } from '../attempt/fake-provider.ts';
import { budget, LEASE_MS, requests, slots, tokens } from '../store/limit-suite.ts';
import { SOME_TIME } from '../store/trace.ts';

const RESERVE: Reserve = { promptTokens: 100, completionTokens: 700, usd: 1e-7, unpriced: undefined, bounded: true };

function usageOf(promptTokens: number, completionTokens: number): Usage {
  const totalTokens = promptTokens + completionTokens;
  return { $typeName: 'llmgateway.v1.Usage', promptTokens, completionTokens, totalTokens, estimated: false };
}

/** A call through the layer, with the account that layers below it would keep. */
function setUp(
  limits: readonly Limit[],
  { reserve = RESERVE, store = memory() }: { reserve?: Reserve; store?: LimitStore } = {},
) {
  const leases = new Leases(store, 1e6);
  const demand: Demand = { limits, reserve };
  const layer = limitCalls<CompletionRequest, CompletionEvent>({ store, leases, demandOf: () => demand });
  const call = async (
    account: Partial<Account>,
    failure?: Error,
    more: Partial<CallContext> = {},
  ): Promise<CallContext> => {
    const context = contextOf(more);
    const next: Completer = async function* () {
      Object.assign(context.account, account);
      if (failure) throw failure;
      yield started('m');
    };
    try {
      for await (const _ of layer(next)(requestOf(), context));
    } finally {
      for (let end = context.ends.pop(); end; end = context.ends.pop()) end();
      leases.close();
    }
    return context;
  };
  const left = async () => {
    await store.flush();
    return (await store.look(limits)).map(({ remaining }) => remaining);
  };
  return { call, left, store, layer, leases };
}

function memory(): MemoryLimits {
  return new MemoryLimits({ leaseMs: LEASE_MS, now: () => SOME_TIME });
}

/** As if it were far away: answers come later. */
function remote(store: LimitStore = memory()): LimitStore {
  return {
    take: async (limits) => {
      await new Promise(setImmediate);
      return store.take(limits);
    },
    settle: (reservation, used) => store.settle(reservation, used),
    renew: (reservations) => store.renew(reservations),
    look: (limits) => store.look(limits),
    flush: () => store.flush(),
    close: () => store.close(),
  };
}

const all = [requests(), tokens(800), slots(1), budget(100)];
const cost = (totalUsd: number) => ({ $typeName: 'llmgateway.v1.Cost' as const, totalUsd });

describe.each([
  ['a store in memory', memory],
  ['a store that is far away', remote],
])('with %s', (_, open) => {
  it('a whole answer takes what it tells', async () => {
    const { call, left } = setUp(all, { store: open() });
    const account: Partial<Account> = { whole: true, spent: { usage: usageOf(120, 30), cost: cost(40e-9) } };
    const { account: noted } = await call(account);
    expect(await left()).toEqual([9, 850, 1, 410]);
    expect(noted.limits?.map(({ remaining }) => remaining)).toEqual([9, 200, 0, 350]);
  });

  it('a failure before the first content gives back everything but the call', async () => {
    const { call, left } = setUp(all, { store: open() });
    await expect(call({}, new Error('connect'))).rejects.toThrow('connect');
    expect(await left()).toEqual([9, 1000, 1, 450]);
  });

  it('a call that is cut has taken its prompt and what was streamed', async () => {
    const { call, left } = setUp(all, { store: open() });
    const account: Partial<Account> = {
      characters: 401,
      costOf: ({ completionTokens }) => cost(completionTokens * 1e-9),
    };
    await expect(call(account, new Error('left'))).rejects.toThrow('left');
    expect(await left()).toEqual([9, 1000 - 100 - 101, 1, 450 - 101]);
  });

  it('a call that is cut has taken what was told before, and what was streamed since', async () => {
    const { call, left } = setUp(all, { store: open() });
    const account: Partial<Account> = {
      characters: 40,
      spent: { usage: usageOf(150, 1), cost: undefined },
      costOf: ({ promptTokens, completionTokens }) => cost((promptTokens + completionTokens) * 1e-9),
    };
    await expect(call(account, new Error('left'))).rejects.toThrow('left');
    expect(await left()).toEqual([9, 1000 - 160, 1, 450 - 160]);
  });

  it('an answer that some other call pays for takes no tokens and no money', async () => {
    const { call, left } = setUp(all, { store: open() });
    await call({ whole: true, free: true, spent: { usage: usageOf(120, 30), cost: cost(40e-9) } });
    expect(await left()).toEqual([9, 1000, 1, 450]);
  });

  it('an answer whose cost is unknown in the end costs what was reserved', async () => {
    const { call, left } = setUp(all, { store: open() });
    await call({ whole: true, spent: { usage: usageOf(120, 30), cost: undefined } });
    expect((await left())[3]).toBe(450 - nanoUsd(RESERVE.usd ?? 0));
  });

  it('a refused call is told when it fits, and never reaches what is below', async () => {
    const { call, store } = setUp(all, { store: open() });
    await store.take([tokens(1000)]);
    const context = contextOf();
    await expect(call({}, undefined, { account: context.account })).rejects.toMatchObject({
      reason: 'rate_limited',
      retryAfterMs: 8000,
      message: 'the key "tester" has 0 tokens left of 6000 tokens a minute, and this call may take 800',
    });
    expect(context.account.limits?.map(({ remaining }) => remaining)).toEqual([10, 0, 1, 450]);
    expect(context.account.waitMs).toBe(8000);
  });
});

describe('a limited call', () => {
  it('is carried out at once where the store answers at once', () => {
    const { layer } = setUp(all);
    const events: AsyncIterable<CompletionEvent> = (async function* () {})();
    expect(layer(() => events)(requestOf(), contextOf())).toBe(events);
  });

  it('holds what it takes for as long as it goes on, and no longer', async () => {
    vi.useFakeTimers();
    const store = memory();
    const renew = vi.spyOn(store, 'renew');
    const leases = new Leases(store, 1000);
    const demandOf = () => ({ limits: all, reserve: RESERVE });
    const layer = limitCalls<CompletionRequest, CompletionEvent>({ store, leases, demandOf });
    const context = contextOf();
    layer(() => (async function* () {})())(requestOf(), context);
    vi.advanceTimersByTime(1000);
    expect(renew).not.toHaveBeenCalled();
    vi.advanceTimersByTime(2000);
    expect(renew).toHaveBeenCalledTimes(2);
    for (const end of context.ends) end();
    vi.advanceTimersByTime(5000);
    expect(renew).toHaveBeenCalledTimes(2);
    leases.close();
    vi.useRealTimers();
  });

  it('whose caller left while a store was asked gives back everything', async () => {
    const store = remote();
    const { layer, leases } = setUp(all, { store });
    const left = new AbortController();
    const context = contextOf({ signal: left.signal });
    const next = vi.fn(async function* () {
      yield textDelta(0, 0, 'x');
      yield finished(undefined);
    });
    const first = layer(next)(requestOf(), context)[Symbol.asyncIterator]().next();
    left.abort(new Error('the caller left'));
    await expect(first).rejects.toThrow('the caller left');
    expect(next).not.toHaveBeenCalled();
    for (const end of context.ends) end();
    leases.close();
    expect((await store.look(all)).map(({ reserved }) => reserved)).toEqual([0, 0, 0, 0]);
  });

  it.each<[string, Partial<Taken & { admitted: false }> & { refusedBy: Limit }, string, string]>([
    [
      'a bucket',
      { refusedBy: requests(1, { refillPerMs: 0.0005 }) },
      'rate_limited',
      'the key "tester" has no call left of 10 at once and 30 a minute',
    ],
    [
      'a bucket that nothing refills',
      { refusedBy: requests(1, { refillPerMs: 0 }) },
      'rate_limited',
      'the key "tester" has no call left of 10 at once and no more to come',
    ],
    [
      'the bucket of a user',
      { refusedBy: requests(1, { subject: 'user:bob', refillPerMs: 0.0025 }) },
      'rate_limited',
      'this user has no call left of 10 at once and 2.5 a second',
    ],
    [
      'the bucket of a user in a key',
      { refusedBy: requests(1, { name: 'requests:user:bob' }) },
      'rate_limited',
      'this user of the key "tester" has no call left of 10 at once and 1 a second',
    ],
    [
      'the bucket of an address',
      { refusedBy: requests(1, { subject: 'address:10.0.0.1' }) },
      'rate_limited',
      'callers without a key from your address have no call left of 10 at once and 1 a second',
    ],
    [
      'the bucket of a user at an address',
      { refusedBy: requests(1, { subject: 'address:10.0.0.1', name: 'requests:user:bob' }) },
      'rate_limited',
      'this user, without a key from your address, has no call left of 10 at once and 1 a second',
    ],
    [
      'everybody’s bucket',
      { refusedBy: requests(1, { subject: 'global' }) },
      'rate_limited',
      'all callers together have no call left of 10 at once and 1 a second',
    ],
    ['slots', { refusedBy: slots(5) }, 'rate_limited', 'the key "tester" has 5 calls in flight, which is the limit'],
    [
      'a budget',
      { refusedBy: budget(250e6, 50e9), standings: [{ limit: budget(250e6, 50e9), remaining: 1e8, resetMs: 1 }] },
      'budget_exhausted',
      'the key "tester" has USD 0.00 left of its budget of USD 50.00, and this call may cost USD 0.25',
    ],
  ])('is refused by %s in words', async (_, taken, reason, message) => {
    const answer = { admitted: false as const, waitMs: 1499.2, standings: [], ...taken };
    const { call } = setUp([taken.refusedBy], { store: { ...remote(), take: () => answer } });
    await expect(call({})).rejects.toMatchObject({ reason, message, retryAfterMs: 1500 });
  });

  it('that never fits is not told to wait', async () => {
    const answer = { admitted: false as const, waitMs: Number.POSITIVE_INFINITY, standings: [], refusedBy: requests() };
    const { call } = setUp([requests()], { store: { ...remote(), take: () => answer } });
    await expect(call({})).rejects.toMatchObject({ reason: 'rate_limited', retryAfterMs: undefined });
  });
});
