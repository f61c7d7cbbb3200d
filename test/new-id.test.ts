import { describe, expect, it } from 'vitest';
import { newId, newUuid } from '../src/new-id.ts';

describe('ids', () => {
  it('are 128 bits in hexadecimal, and never the same', () => {
    const ids = Array.from({ length: 2000 }, newId);
    expect(ids.filter((id) => !/^[0-9a-f]{32}$/.test(id))).toEqual([]);
    expect(new Set(ids).size).toBe(2000);
  });

  it('are UUIDs of version 4 in the form of RFC 9562 where that is wanted', () => {
    const ids = Array.from({ length: 2000 }, newUuid);
    expect(
      ids.filter((id) => !/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)),
    ).toEqual([]);
    expect(new Set(ids).size).toBe(2000);
  });

  it('of a UUID have each digit at each place that is free', () => {
    const ids = Array.from({ length: 2000 }, () => newUuid().replaceAll('-', ''));
    const free = [...Array(32).keys()].filter((at) => at !== 12 && at !== 16);
    for (const at of free) expect(new Set(ids.map((id) => id[at])).size).toBe(16);
  });
});
