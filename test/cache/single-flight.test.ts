import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SingleFlight } from '../../src/cache/single-flight.ts';
import type { CallContext } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import { Stop } from '../../src/stop.ts';
import { contextOf } from '../attempt/fake-provider.ts';

/** Events are numbers, the last one is -1, and each takes ten bytes. */
const LAST = -1;

/** A source that gives its next number when it is told to, and tells how it was treated. */
class Source {
  context: CallContext | undefined;
  pulled = 0;
  returned = 0;
  ended = 0;
  #given: (number | Error | 'end')[] = [];
  #wanted: (() => void) | undefined;

  give(...steps: (number | Error | 'end')[]): void {
    this.#given.push(...steps);
    this.#wanted?.();
  }

  readonly begin = (context: CallContext): AsyncIterable<number> => {
    this.context = context;
    context.ends.push(() => this.ended++);
    const source = this;
    return (async function* () {
      try {
        for (;;) {
          source.pulled++;
          while (source.#given.length === 0) {
            await new Promise<void>((resolve, reject) => {
              source.#wanted = resolve;
              context.signal.addEventListener('abort', () => reject(context.signal.reason));
            });
          }
          const step = source.#given.shift();
          if (step === 'end') return;
          if (step instanceof Error) throw step;
          yield step as number;
        }
      } finally {
        source.returned++;
      }
    })();
  };
}

function flights(bounds: { maxLogBytes?: number; maxBytes?: number } = {}) {
  return new SingleFlight<number>({ isLast: (event) => event === LAST, sizeOf: () => 10, ...bounds });
}

function boarding(more: Partial<CallContext> = {}) {
  const stop = new Stop();
  const context = contextOf({ signal: stop, ...more });
  return { context, stop, tell: (event: number, pays: boolean) => (pays ? event : event * 1000) };
}

const noSee = () => undefined;

/** A first reader that has begun a flight under the key `a`. */
function began(all = flights(), see: (event: number) => Promise<unknown> | undefined = noSee) {
  const source = new Source();
  const first = boarding();
  const reader = all.begin('a', first, { begin: source.begin, see });
  return { all, source, first, reader };
}

function joined(all: SingleFlight<number>, more: Partial<CallContext> = {}) {
  const board = boarding(more);
  const reader = all.join('a', board);
  if (!reader) throw new Error('the flight is closed');
  return { ...board, reader };
}

async function rest(reader: AsyncIterable<number>): Promise<number[]> {
  const events: number[] = [];
  for await (const event of reader) events.push(event);
  return events;
}

const next = async (reader: AsyncIterator<number>) => (await reader.next()).value;

describe('a flight', () => {
  it('brings one answer to a thousand readers', async () => {
    const { all, source, reader } = began();
    const readers = Array.from({ length: 999 }, () => joined(all).reader);
    source.give(1, 2, LAST, 'end');
    const answers = await Promise.all([reader, ...readers].map(rest));
    expect(answers[0]).toEqual([1, 2, LAST]);
    for (const answer of answers.slice(1)) expect(answer).toEqual([1000, 2000, -1000]);
    expect([source.pulled, source.returned, source.ended]).toEqual([4, 1, 1]);
    expect([all.count, all.bytes]).toEqual([0, 0]);
  });

  it('is read by each at its own pace, and brings no more than the fastest asks for', async () => {
    const { all, source, reader } = began();
    const slow = joined(all).reader;
    source.give(1, 2, 3, LAST, 'end');
    expect(await next(reader)).toBe(1);
    expect(await next(reader)).toBe(2);
    await turn();
    expect(source.pulled).toBe(2);
    expect(await next(slow)).toBe(1000);
    expect(source.pulled).toBe(2);
    expect(await next(slow)).toBe(2000);
    expect(await next(slow)).toBe(3000);
    expect(source.pulled).toBe(3);
    expect(await rest(reader)).toEqual([3, LAST]);
  });

  it('gives a late joiner everything from the start', async () => {
    const { all, source, reader } = began();
    source.give(1, 2);
    expect([await next(reader), await next(reader)]).toEqual([1, 2]);
    const late = joined(all).reader;
    source.give(LAST, 'end');
    expect(await rest(late)).toEqual([1000, 2000, -1000]);
    expect(await rest(reader)).toEqual([LAST]);
  });

  it('goes on when the one that began it leaves', async () => {
    const { all, source, first, reader } = began();
    const other = joined(all);
    const waiting = expect(next(reader)).rejects.toThrow('gone');
    first.stop.abort(new GatewayError('cancelled', 'gone'));
    await waiting;
    source.give(1, LAST, 'end');
    expect(await rest(other.reader)).toEqual([1, LAST]);
    expect(source.context?.signal.aborted).toBe(false);
  });

  it('stops the call when the last reader leaves, and only then', async () => {
    const { all, source, first, reader } = began();
    const other = joined(all);
    const reads = [next(reader), next(other.reader)].map((read) => read.catch((error) => error.message));
    first.stop.abort(new Error('first gone'));
    await turn();
    expect([source.context?.signal.aborted, source.returned, source.ended]).toEqual([false, 0, 0]);
    other.stop.abort(new Error('other gone'));
    expect(await Promise.all(reads)).toEqual(['first gone', 'other gone']);
    expect(source.context?.signal.reason).toMatchObject({ reason: 'cancelled' });
    await turn();
    expect([source.returned, source.ended, all.count, all.bytes]).toEqual([1, 1, 0, 0]);
  });

  it('is left by a reader that is closed, also while it waits', async () => {
    const { source, reader } = began();
    const waiting = reader.next();
    await reader.return();
    expect((await waiting).done).toBe(true);
    expect((await reader.next()).done).toBe(true);
    await turn();
    expect([source.context?.signal.aborted, source.returned, source.ended]).toEqual([true, 1, 1]);
  });

  it('ends for a reader at its own deadline', async () => {
    const { all, source, reader } = began();
    const hasty = joined(all, { deadline: 5 });
    const waiting = expect(next(hasty.reader)).rejects.toMatchObject({ reason: 'deadline_exceeded' });
    hasty.stop.abort(new GatewayError('deadline_exceeded', 'too late'));
    await waiting;
    await expect(next(hasty.reader)).rejects.toMatchObject({ reason: 'deadline_exceeded' });
    source.give(1, LAST, 'end');
    expect(await rest(reader)).toEqual([1, LAST]);
  });

  it('has as long as any of its readers', () => {
    const all = flights();
    const source = new Source();
    all.begin('a', boarding({ deadline: 100 }), { begin: source.begin, see: noSee });
    expect(source.context?.deadline).toBe(100);
    joined(all, { deadline: 50 });
    expect(source.context?.deadline).toBe(100);
    joined(all, { deadline: 900 });
    expect(source.context?.deadline).toBe(900);
  });

  it('fails for all its readers, and the next call begins a new one', async () => {
    const { all, source, reader } = began();
    const other = joined(all).reader;
    source.give(1, new GatewayError('provider_unavailable', 'down'));
    for (const each of [reader, other]) {
      await next(each);
      await expect(next(each)).rejects.toMatchObject({ reason: 'provider_unavailable' });
      expect((await each.next()).done).toBe(true);
    }
    expect(all.join('a', boarding())).toBeUndefined();
    expect([source.ended, all.bytes]).toEqual([1, 0]);
  });

  it('is no flight when it cannot begin', () => {
    const all = flights();
    let ended = 0;
    const begin = ({ ends }: CallContext) => {
      ends.push(() => ended++);
      throw new GatewayError('no_provider_available', 'none');
    };
    expect(() => all.begin('a', boarding(), { begin, see: noSee })).toThrow('none');
    expect([ended, all.count]).toEqual([1, 0]);
  });

  it('takes no reader that has left already', () => {
    const { all } = began();
    const left = boarding();
    left.stop.abort(new Error('left'));
    expect(() => all.join('a', left)).toThrow('left');
    const source = new Source();
    expect(() => all.begin('b', left, { begin: source.begin, see: noSee })).toThrow('left');
    expect(source.context).toBeUndefined();
  });

  it('may be begun anew beside one that goes on', async () => {
    const { all, source, reader } = began();
    const fresh = new Source();
    const second = all.begin('a', boarding(), { begin: fresh.begin, see: noSee });
    fresh.give(7);
    expect(await next(joined(all).reader)).toBe(7000);
    source.give(1, LAST, 'end');
    expect(await rest(reader)).toEqual([1, LAST]);
    expect(all.count).toBe(1);
    fresh.give(LAST, 'end');
    expect(await rest(second)).toEqual([7, LAST]);
  });
});

describe('the log of a flight', () => {
  it('is bounded: a reader too far behind is cut, the others read on, and nobody joins any more', async () => {
    const { all, source, reader } = began(flights({ maxLogBytes: 100 }));
    const slow = joined(all).reader;
    source.give(1);
    expect(await next(slow)).toBe(1000);
    for (let at = 1; at <= 30; at++) {
      if (at > 1) source.give(at);
      expect(await next(reader)).toBe(at);
      expect(all.bytes).toBeLessThanOrEqual(100);
    }
    await expect(next(slow)).rejects.toMatchObject({
      reason: 'overloaded',
      message: expect.stringContaining('more than 100 bytes'),
    });
    expect(all.join('a', boarding())).toBeUndefined();
    source.give(LAST, 'end');
    expect(await rest(reader)).toEqual([LAST]);
    expect(all.bytes).toBe(0);
  });

  it('is no bound for a reader that is alone', async () => {
    const { all, source, reader } = began(flights({ maxLogBytes: 100 }));
    source.give(...Array.from({ length: 500 }, (_, at) => at), LAST, 'end');
    expect((await rest(reader)).length).toBe(501);
    expect(all.bytes).toBe(0);
  });

  it('keeps for a reader who is a little behind what it has not read', async () => {
    const { all, source, reader } = began(flights({ maxLogBytes: 100 }));
    const slow = joined(all).reader;
    const seen: number[] = [];
    for (let at = 1; at <= 40; at++) {
      source.give(at);
      await next(reader);
      if (at > 8) seen.push(await next(slow));
    }
    expect(seen).toEqual(Array.from({ length: 32 }, (_, at) => (at + 1) * 1000));
  });

  it('is kept short while all logs together take too much', async () => {
    const all = flights({ maxLogBytes: 6400, maxBytes: 500 });
    const { source, reader } = began(all);
    const slow = joined(all).reader;
    for (let at = 1; at <= 60; at++) {
      source.give(at);
      await next(reader);
    }
    expect(all.bytes).toBeLessThanOrEqual(500);
    await expect(next(slow)).rejects.toMatchObject({ reason: 'overloaded' });
  });

  it('stays open for late joiners until the answer is stored', async () => {
    let stored = () => {};
    const storing = new Promise<void>((resolve) => {
      stored = resolve;
    });
    const { all, source, reader } = began(flights(), (event) => (event === LAST ? storing : undefined));
    source.give(1, LAST, 'end');
    expect(await rest(reader)).toEqual([1, LAST]);
    expect(await rest(joined(all).reader)).toEqual([1000, -1000]);
    expect(all.count).toBe(1);
    stored();
    await turn();
    expect(all.join('a', boarding())).toBeUndefined();
    expect(all.bytes).toBe(0);
  });

  it('is closed also when the answer could not be stored', async () => {
    const failing = () => Promise.reject(new Error('no store'));
    const { all, source, reader } = began(flights(), (event) => (event === LAST ? failing() : undefined));
    source.give(LAST, 'end');
    await rest(reader);
    await turn();
    expect([all.count, all.bytes]).toEqual([0, 0]);
  });

  it('shows each event once to whoever looks on', async () => {
    const seen: number[] = [];
    const { all, source, reader } = began(flights(), (event) => {
      seen.push(event);
      return undefined;
    });
    const other = joined(all);
    source.give(1, LAST, 'end');
    await Promise.all([rest(reader), rest(other.reader)]);
    expect(seen).toEqual([1, LAST]);
  });
});

describe('the one that pays', () => {
  it('is the first, and the others are free', () => {
    const { all, first } = began();
    const other = joined(all);
    expect([first.context.account.free, other.context.account.free]).toEqual([false, true]);
  });

  it('is the next one when the first leaves before the answer is whole', async () => {
    const { all, source, first, reader } = began();
    const second = joined(all);
    const third = joined(all);
    source.give(1);
    await next(reader);
    await reader.return();
    const free = [first, second, third].map(({ context }) => context.account.free);
    expect(free).toEqual([true, false, true]);
    source.give(LAST, 'end');
    expect(await rest(second.reader)).toEqual([1, LAST]);
    expect(await rest(third.reader)).toEqual([1000, -1000]);
  });

  it('is told by the layers below what they note, also one that pays later', async () => {
    const { all, source, first, reader } = began();
    const second = joined(all);
    Object.assign(source.context?.account ?? {}, { free: true, cache: { status: 'hit' } });
    source.give(1);
    await next(reader);
    expect(first.context.account).toMatchObject({ free: true, cache: { status: 'hit' } });
    Object.assign(source.context?.account ?? {}, { free: false });
    await reader.return();
    expect(second.context.account).toMatchObject({ free: false, cache: { status: 'hit' } });
  });

  it('stays the first when it leaves a whole answer unread', async () => {
    const { all, source, first, reader } = began();
    const other = joined(all);
    source.give(1, LAST);
    expect([await next(other.reader), await next(other.reader)]).toEqual([1000, -1000]);
    await reader.return();
    expect([first.context.account.free, other.context.account.free]).toEqual([false, true]);
  });
});

describe('flights at random', () => {
  it('give every reader the answer from its start, in order and without gaps, and forget nothing that is counted', async () => {
    const step = fc.oneof(
      { weight: 2, arbitrary: fc.record({ do: fc.constant('join' as const) }) },
      { weight: 6, arbitrary: fc.record({ do: fc.constant('read' as const), reader: fc.nat(5) }) },
      { weight: 5, arbitrary: fc.record({ do: fc.constant('give' as const) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), reader: fc.nat(5) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
        const all = flights({ maxLogBytes: 120 });
        const source = new Source();
        const readers: {
          reader: AsyncIterableIterator<number>;
          read: Promise<unknown>[];
          got: number[];
          over: boolean;
        }[] = [];
        const add = (reader: AsyncIterableIterator<number>) => readers.push({ reader, read: [], got: [], over: false });
        add(all.begin('a', { ...boarding(), tell: (event) => event }, { begin: source.begin, see: noSee }));
        let given = 0;
        for (const each of steps) {
          if (each.do === 'give') source.give(++given);
          else if (each.do === 'join') {
            const reader = all.join('a', { ...boarding(), tell: (event) => event });
            if (reader) add(reader);
          } else {
            const one = readers[each.reader % readers.length];
            if (!one || one.over) continue;
            if (each.do === 'leave') {
              one.over = true;
              await one.reader.return?.();
            } else if (one.got.length + one.read.length < given) {
              const reading = one.reader.next().then(
                ({ value }) => one.got.push(value),
                (error) => {
                  one.over = true;
                  expect(error).toMatchObject({ reason: 'overloaded' });
                },
              );
              await reading;
            }
          }
          expect(all.bytes).toBeLessThanOrEqual(120);
        }
        for (const { got } of readers) expect(got).toEqual(got.map((_, at) => at + 1));
        for (const { reader } of readers) await reader.return?.();
        await turn();
        expect([all.count, all.bytes, source.ended]).toEqual([0, 0, 1]);
      }),
      { numRuns: 200 },
    );
  });
});
