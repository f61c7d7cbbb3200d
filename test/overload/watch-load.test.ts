import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Load } from '../../src/admission/overload.ts';
import { turnClock, watchLoad } from '../../src/admission/watch-load.ts';

let stop = () => {};
afterEach(() => {
  stop();
  vi.restoreAllMocks();
});

function watched(): Load[] {
  const loads: Load[] = [];
  stop = watchLoad((load) => loads.push(load));
  return loads;
}

describe('the load of a process', () => {
  it('has how long turns of the event loop take, whatever it sleeps', async () => {
    const loads = watched();
    await expect.poll(() => loads.length, { timeout: 3000 }).toBe(1);
    expect(loads[0]?.turnMs).toBeLessThan(20);
    for (let turns = 0; turns < 10; turns++) {
      const until = performance.now() + 60;
      while (performance.now() < until);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => loads.length, { timeout: 3000 }).toBeGreaterThan(2);
    expect(loads[1]?.turnMs).toBeGreaterThan(40);
  });

  it('knows a single pause from a queue', async () => {
    const loads = watched();
    const until = performance.now() + 100;
    while (performance.now() < until);
    for (let turns = 0; turns < 50; turns++) await pause(1);
    await expect.poll(() => loads.length, { timeout: 3000 }).toBeGreaterThan(0);
    expect(loads[0]?.turnMs).toBeLessThan(12);
  });

  it('is told four times a second until it is stopped', async () => {
    const loads = watched();
    await pause(700);
    expect(loads.length).toBeGreaterThanOrEqual(1);
    expect(loads.length).toBeLessThanOrEqual(3);
    stop();
    const { length } = loads;
    await pause(300);
    expect(loads.length).toBe(length);
  });

  it('has a share of the heap, and of the container where that is fuller', async () => {
    const loads = watched();
    await expect.poll(() => loads.length, { timeout: 3000 }).toBe(1);
    expect(loads[0]?.memoryShare).toBeGreaterThan(0);
    expect(loads[0]?.memoryShare).toBeLessThan(0.9);
    vi.spyOn(process, 'constrainedMemory').mockReturnValue(process.memoryUsage.rss() * 1.02);
    await expect.poll(() => loads.length, { timeout: 3000 }).toBe(2);
    expect(loads[1]?.memoryShare).toBeGreaterThan(0.9);
  });
});

describe('a turn of the event loop', () => {
  it('begins when it is first asked for, and ends with the turn', async () => {
    const turnMs = turnClock();
    expect(turnMs()).toBe(0);
    const until = performance.now() + 20;
    while (performance.now() < until);
    expect(turnMs()).toBeGreaterThanOrEqual(19);
    await new Promise((resolve) => setImmediate(resolve));
    expect(turnMs()).toBe(0);
  });
});
