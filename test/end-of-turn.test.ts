import { expect, it } from 'vitest';
import { atEndOfTurn } from '../src/end-of-turn.ts';

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

it('does what is due at the end of a turn, in its order and after all that the turn itself brings', async () => {
  const done: string[] = [];
  atEndOfTurn(() => done.push('first'));
  process.nextTick(() => atEndOfTurn(() => done.push('third')));
  queueMicrotask(() => done.push('a microtask'));
  atEndOfTurn(() => done.push('second'));
  expect(done).toEqual([]);
  await nextTurn();
  expect(done).toEqual(['a microtask', 'first', 'second', 'third']);
});

it('does not let what is due wait for a turn that is long', async () => {
  const done: string[] = [];
  atEndOfTurn(() => done.push('first'));
  const until = performance.now() + 6;
  while (performance.now() < until);
  atEndOfTurn(() => done.push('second'));
  expect(done).toEqual(['first', 'second']);
  atEndOfTurn(() => done.push('third'));
  expect(done).toEqual(['first', 'second']);
  await nextTurn();
  expect(done).toEqual(['first', 'second', 'third']);
});

it('leaves to the next turn what becomes due meanwhile', async () => {
  const done: string[] = [];
  atEndOfTurn(() => {
    done.push('now');
    atEndOfTurn(() => done.push('later'));
    setImmediate(() => done.push('a turn after'));
  });
  await nextTurn();
  expect(done).toEqual(['now']);
  await nextTurn();
  expect(done).toEqual(['now', 'later', 'a turn after']);
});
