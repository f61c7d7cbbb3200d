import { describe, expect, it } from 'vitest';
import type { CompletionEvent, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import { Recording } from '../../src/cache/recording.ts';
import type { CallContext } from '../../src/completion.ts';
import { Room } from '../../src/room.ts';
import { aborted, contextOf } from '../attempt/fake-provider.ts';
import { answering, cacheOver, giving, question } from './cached-calls.ts';

const answer = answering(['one', 'two']);
const size = 100 * answer.length;

function record(events: readonly CompletionEvent[], room: Room) {
  const recording = new Recording(() => 100, room);
  return { recording, whole: events.map((event) => recording.add(event)).at(-1) };
}

describe('an answer that is put together', () => {
  it('takes room while it comes, and none once it is whole', () => {
    const room = new Room(size);
    const { recording } = record(answer.slice(0, 3), room);
    expect(room.bytes).toBe(300);
    for (const event of answer.slice(3, -1)) expect(recording.add(event)).toBeUndefined();
    expect(recording.add(answer.at(-1) as CompletionEvent)?.choices.length).toBe(1);
    expect(room.bytes).toBe(0);
  });

  it('is given up, and leaves its room to others, when there is not enough', () => {
    const room = new Room(size + 200);
    const { recording } = record(answer.slice(0, 3), room);
    const { whole } = record(answer, room);
    expect([whole, room.bytes]).toEqual([undefined, 300]);
    for (const event of answer.slice(3, -1)) recording.add(event);
    expect(recording.add(answer.at(-1) as CompletionEvent)).toBeDefined();
    expect(room.bytes).toBe(0);
  });

  it('gives its room back once, however often it is ended', () => {
    const room = new Room(size);
    const { recording } = record(answer.slice(0, 3), room);
    recording.end();
    recording.end();
    expect([recording.add(answer[3] as CompletionEvent), room.bytes]).toEqual([undefined, 0]);
  });
});

describe('the cache', () => {
  it('passes on an answer for which there is no room, and does not store it', async () => {
    const { call, counts, room } = cacheOver(
      giving(() => answer),
      { roomBytes: 200 },
    );
    for (let at = 0; at < 2; at++) {
      const { events, account } = await call();
      expect([events.length, account.cache?.status]).toEqual([answer.length, 'miss']);
    }
    expect([counts.stored, room.bytes]).toEqual([0, 0]);
  });

  it('has its room back when the caller leaves in the middle', async () => {
    async function* stuck(_: CompletionRequest, { signal }: CallContext) {
      yield* answer.slice(0, 3);
      await aborted(signal);
    }
    const { complete, room } = cacheOver(stuck);
    const events = complete(question(), contextOf())[Symbol.asyncIterator]();
    for (let at = 0; at < 3; at++) await events.next();
    expect(room.bytes).toBe(300);
    await events.return?.();
    await expect.poll(() => room.bytes).toBe(0);
  });
});
