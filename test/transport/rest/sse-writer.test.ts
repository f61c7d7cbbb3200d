import type { ServerResponse } from 'node:http';
import { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SseWriter } from '../../../src/transport/rest/sse-writer.ts';

/** A response whose reader takes what was written when the test says so, and a writer on it. */
function open({ joining = true, stallMs = 60_000 } = {}) {
  const pieces: string[] = [];
  let take = () => {};
  const response = new Writable({
    highWaterMark: 1,
    write(piece, _encoding, done) {
      pieces.push(String(piece));
      take = done;
    },
  });
  return {
    pieces,
    response,
    take: () => take(),
    writer: new SseWriter(response as ServerResponse, { joining, stallMs }),
  };
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

describe('a writer of server-sent events', () => {
  it('joins what is written in one turn', async () => {
    const { writer, pieces } = open();
    writer.write('a');
    writer.write('b');
    await turn();
    expect(pieces).toEqual(['ab']);
  });

  it('waits for a reader who is behind', async () => {
    const { writer, take } = open();
    writer.write('a');
    await turn();
    expect(writer.behind).toBe(true);
    let caughtUp = false;
    const drained = writer.drained().then(() => {
      caughtUp = true;
    });
    await turn();
    expect(caughtUp).toBe(false);
    take();
    await drained;
    expect([writer.behind, vi.getTimerCount()]).toEqual([false, 0]);
  });

  // It looked like a stream that stopped for ever, and was cut a minute later: the reader had caught up while the next event was
  // awaited, and the writer then waited for a sign that had been given already.
  it('does not wait for one who has caught up in the meantime', async () => {
    const { writer, take } = open();
    writer.write('a');
    await turn();
    take();
    await turn();
    writer.write('b');
    expect(writer.behind).toBe(false);
    await writer.drained();
  });

  it('cuts one who reads nothing for the allowed time', async () => {
    const { writer, response } = open({ stallMs: 1_000 });
    writer.write('a');
    await turn();
    void writer.drained();
    vi.advanceTimersByTime(999);
    expect(response.destroyed).toBe(false);
    vi.advanceTimersByTime(1);
    expect(response.destroyed).toBe(true);
  });

  it('keeps nobody waiting once the connection is lost', async () => {
    const { writer } = open();
    writer.write('a');
    await turn();
    const drained = writer.drained();
    writer.close();
    await drained;
    await writer.drained();
    expect(vi.getTimerCount()).toBe(0);
  });
});
