import { describe, expect, it } from 'vitest';
import { Places } from '../../src/providers/places.ts';

/** Places, and guests who note when they begin. */
function openPlaces(count: number) {
  const places = new Places(count);
  const begun: string[] = [];
  const guests = [...'abcdef'].map((name) => ({ begin: () => begun.push(name) }));
  return { places, begun, guests };
}

/** Lets all that was put off happen. */
function later(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('places', () => {
  it('are taken at once while there are some, and then in the order of the line', async () => {
    const { places, begun, guests } = openPlaces(2);

    for (const guest of guests) places.take(guest);
    expect(begun.join('')).toBe('ab');

    places.leave(guests[1] as (typeof guests)[0]);
    await later();
    expect(begun.join('')).toBe('abc');

    for (const guest of [guests[0], guests[2]]) places.leave(guest as (typeof guests)[0]);
    await later();
    expect(begun.join('')).toBe('abcde');
  });

  it('are not for those who left the line, not even in the moment in which one becomes free', async () => {
    const { places, begun, guests } = openPlaces(1);
    const [a, b, c, d] = guests as [(typeof guests)[0], (typeof guests)[0], (typeof guests)[0], (typeof guests)[0]];

    for (const guest of [a, b, c]) places.take(guest);
    for (const guest of [a, b, c]) places.leave(guest);
    await later();
    expect(begun.join('')).toBe('a');

    places.take(d);
    expect(begun.join('')).toBe('ad');
  });

  it('are not taken before those who came first', async () => {
    const { places, begun, guests } = openPlaces(1);
    const [a, b, c] = guests as [(typeof guests)[0], (typeof guests)[0], (typeof guests)[0]];

    places.take(a);
    places.take(b);
    places.leave(a);
    places.take(c);
    await later();

    expect(begun.join('')).toBe('ab');
  });
});
