import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { AtOnce, gather } from '../src/at-once.ts';
import { Later } from '../src/later.ts';

async function* oneByOne(...events: (number | Error)[]) {
  for (const event of events) {
    if (event instanceof Error) throw event;
    yield event;
  }
}

async function read(events: AsyncIterable<number>): Promise<number[]> {
  const all: number[] = [];
  for await (const event of events) all.push(event);
  return all;
}

describe('events that are brought together', () => {
  it('are there without a promise where they are at hand', () => {
    const events = [1, 2];
    expect(gather(new AtOnce(events))).toBe(events);
  });

  it.each([
    ['are promised', () => new AtOnce(Promise.resolve([1, 2]))],
    ['come one by one', () => oneByOne(1, 2)],
    ['begin later', () => new Later(Promise.resolve(new AtOnce([1, 2])))],
    [
      'begin later and come one by one',
      () => new Later(Promise.resolve(oneByOne(1, 2) as AsyncIterable<number, undefined>)),
    ],
  ])('are gathered where they %s', async (_how, events) => {
    expect(await gather(events())).toEqual([1, 2]);
  });

  it.each([
    ['at hand', new AtOnce([1, 2])],
    ['promised', new AtOnce(Promise.resolve([1, 2]))],
  ])('can be read one by one where they are %s', async (_how, events) => {
    expect(await read(events)).toEqual([1, 2]);
  });

  it('fail for whoever reads them, and for nobody where nobody does', async () => {
    const unread = new AtOnce<number>(Promise.reject(new Error('lost')));
    await pause(5);
    await expect(read(unread)).rejects.toThrow('lost');
    await expect(gather(unread)).rejects.toThrow('lost');
    await expect(gather(oneByOne(1, new Error('cut')))).rejects.toThrow('cut');
    await expect(gather(new Later<number>(Promise.reject(new Error('refused'))))).rejects.toThrow('refused');
  });
});
