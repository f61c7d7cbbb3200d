import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Attempt, AttemptOutcome, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { AtOnce } from '../../src/at-once.ts';
import { attempt } from '../../src/attempt/attempt.ts';
import { deadline } from '../../src/attempt/deadline.ts';
import { heartbeats } from '../../src/attempt/heartbeat.ts';
import { completions } from '../../src/attempt/operation.ts';
import { Seat } from '../../src/attempt/target-guard.ts';
import { type CallContext, choiceFinished, finished, started, textDelta } from '../../src/completion.ts';
import { Stop } from '../../src/stop.ts';
import { aborted, contextOf, guardsFor, requestOf, type Step, scripted, targetOf } from './fake-provider.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

const limits = { unaryMs: 6000, firstTokenMs: 3000, idleMs: 1000, slowFirstTokenMs: 1500, slowUnaryMs: 3000 };

function start(steps: readonly Step[], streaming = true) {
  const log = { outcome: AttemptOutcome.UNSPECIFIED, reason: '' } as Attempt;
  const target = targetOf(scripted('one', steps), { limits });
  const context = contextOf({ streaming });
  const seat = guardsFor().of('one', 'm').enter(streaming, limits);
  if (!(seat instanceof Seat)) throw new Error(seat.words);
  const capMs = Number.POSITIVE_INFINITY;
  return attempt({ operation: completions, target, request: requestOf(), context, seat, log, capMs });
}

/** The failure of an attempt after so much time, in which nothing else happens. */
async function failureAfter(events: AsyncIterator<unknown>, ms: number): Promise<unknown> {
  const failing = events.next().catch((error: unknown) => error);
  await vi.advanceTimersByTimeAsync(ms - 2);
  expect(vi.getTimerCount()).toBe(1);
  await vi.advanceTimersByTimeAsync(2);
  return failing;
}

describe('the deadline of a call', () => {
  it('passes on an abort that comes while the call is begun', () => {
    const stop = new Stop();
    let inner: CallContext | undefined;
    const begin = deadline(() => 1000)((_request, context) => {
      inner = context;
      stop.abort(new Error('left'));
      return new AtOnce(Promise.resolve([]));
    });
    begin(requestOf(), contextOf({ signal: stop }));
    expect(inner?.signal.aborted).toBe(true);
  });

  it('needs no timer where the answer is there already', () => {
    const whole = new AtOnce([started('m'), finished(undefined)]);
    const ends: (() => void)[] = [];
    expect(deadline(() => 1000)(() => whole)(requestOf(), contextOf({ ends }))).toBe(whole);
    expect([vi.getTimerCount(), ends.length]).toEqual([0, 0]);
    const later = new AtOnce(Promise.resolve([]));
    deadline(() => 1000)(() => later)(requestOf(), contextOf({ ends }));
    expect([vi.getTimerCount(), ends.length]).toEqual([1, 1]);
  });
});

describe('time limits of an attempt', () => {
  it('ends a stream whose first token does not come', async () => {
    const events = start([started('m'), 'hang']);
    await events.next();
    expect(await failureAfter(events, 3000)).toMatchObject({
      reason: 'provider_timeout',
      message: 'one sent no first token within 3000 ms',
    });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends a stream that falls silent in the middle', async () => {
    const events = start([started('m'), textDelta(0, 0, 'hi'), 'hang']);
    await events.next();
    await events.next();
    expect(await failureAfter(events, 1000)).toMatchObject({
      reason: 'provider_timeout',
      message: 'one sent no further event within 1000 ms',
    });
  });

  it('does not count the time that a slow reader takes', async () => {
    const events = start([
      started('m'),
      textDelta(0, 0, 'a'),
      textDelta(0, 0, 'b'),
      choiceFinished(0, FinishReason.STOP),
      finished(undefined),
    ]);
    for (let index = 0; index < 5; index++) {
      expect((await events.next()).done).toBe(false);
      await vi.advanceTimersByTimeAsync(index === 0 ? 10 : 60_000);
    }
    expect((await events.next()).done).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('gives a whole answer one limit', async () => {
    const events = start(['hang'], false);
    expect(await failureAfter(events, 6000)).toMatchObject({ message: 'one sent no answer within 6000 ms' });
  });
});

describe('deadline', () => {
  it('ends the call with deadline_exceeded', async () => {
    const complete = deadline(() => 2000)(async function* (_request, { signal }) {
      yield started('m');
      await aborted(signal);
    });
    const events = complete(requestOf(), contextOf())[Symbol.asyncIterator]();
    await events.next();
    const failing = events.next().catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(2000);
    expect(await failing).toMatchObject({ reason: 'deadline_exceeded' });
  });

  it('lets a sooner deadline of the caller go before', () => {
    let allowed = 0;
    const complete = deadline(() => 2000)(async function* (_request, context) {
      allowed = context.deadline - performance.now();
      yield started('m');
    });
    void complete(requestOf(), contextOf({ deadline: performance.now() + 500 }))
      [Symbol.asyncIterator]()
      .next();
    expect(allowed).toBe(500);
  });

  it('refuses a call whose time is over before it begins', () => {
    const complete = deadline(() => 2000)(async function* () {});
    expect(() => complete(requestOf(), contextOf({ deadline: performance.now() - 1 }))).toThrow(
      expect.objectContaining({ reason: 'deadline_exceeded' }),
    );
  });

  it('leaves neither timer nor listener once the call is over', () => {
    const stop = new Stop();
    const context = contextOf({ signal: stop });
    let inner = contextOf();
    deadline(() => 2000)(async function* (_request, given) {
      inner = given;
      yield started('m');
    })(requestOf(), context)
      [Symbol.asyncIterator]()
      .next();
    for (const end of context.ends) end();
    expect(vi.getTimerCount()).toBe(0);
    stop.abort(new Error('too late'));
    expect(inner.signal.aborted).toBe(false);
  });
});

describe('heartbeats', () => {
  const complete = heartbeats(1000)(async function* (_request, { signal }) {
    yield started('m');
    await new Promise((resolve) => setTimeout(resolve, 2500));
    yield textDelta(0, 0, 'hi');
    signal.throwIfAborted();
    yield finished(undefined);
  });

  it('stand wherever the reader waits for the interval, and lose no event', async () => {
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { event } of complete(requestOf(), contextOf())) seen.push(event.case ?? '');
    })();
    await vi.advanceTimersByTimeAsync(5000);
    await reading;
    expect(seen).toEqual(['started', 'heartbeat', 'heartbeat', 'textDelta', 'finished']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('are not sent to a reader who does not wait', async () => {
    const events = complete(requestOf(), contextOf())[Symbol.asyncIterator]();
    expect((await events.next()).value.event.case).toBe('started');
    await vi.advanceTimersByTimeAsync(10_000);
    let settled = false;
    const next = events.next().finally(() => {
      settled = true;
    });
    await vi.advanceTimersByTimeAsync(900);
    expect(settled).toBe(false);
    await vi.advanceTimersByTimeAsync(100);
    expect((await next).value.event.case).toBe('heartbeat');
  });

  it("are none of a whole answer's business", async () => {
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { event } of complete(requestOf(), contextOf({ streaming: false }))) seen.push(event.case ?? '');
    })();
    await vi.advanceTimersByTimeAsync(5000);
    await reading;
    expect(seen).toEqual(['started', 'textDelta', 'finished']);
  });
});
