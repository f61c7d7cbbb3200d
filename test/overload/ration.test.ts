import { describe, expect, it } from 'vitest';
import { Ration } from '../../src/admission/ration.ts';

const OPTIONS = { delayMs: 100, lateSamples: 3, held: 0 };

function sampled(ration: Ration, samples: number, turnMs: number): Ration {
  for (let at = 0; at < samples; at++) ration.sample(turnMs, OPTIONS);
  return ration;
}

/** Those calls come that are let in in each turn. */
function beginTurn(ration: Ration): void {
  for (let call = 0; call < 8; call++) expect(ration.refuses(0, call / 1000)).toBe(false);
}

/** What a call takes, and what to refuse one does, in milliseconds. Half of a call is done when it comes, half when its upstream has answered. */
const CALL_MS = 0.3;
const REFUSAL_MS = 0.04;
const PEAK = 1000 / CALL_MS;
/** Its multiples spread evenly. */
const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2;
/** By then a queue that stood before rationing began is worked off. */
const SETTLED_MS = 4000;

interface Load {
  /** Calls a second, whatever becomes of them. */
  readonly rate?: number;
  /** Callers that wait for each answer, and for their refusals for one second to two. */
  readonly callers?: number;
  /** Calls that all come at the beginning. */
  readonly burst?: number;
}

/** An event loop on a clock of its own, whose upstream answers at once: what comes during a turn is there in the next one. */
function simulated(ration: Ration, seconds: number, { rate = 0, callers = 0, burst = 0 }: Load) {
  let now = 0;
  let sampledAt = 0;
  let turns = 0;
  let sent = 0;
  const arriving = Array<number>(callers + burst).fill(0);
  const resting = Array<number>(callers).fill(0).slice(callers);
  let answered: number[] = [];
  const latencies: number[] = [];
  let refused = 0;
  let settledAt = 0;
  while (now < seconds * 1000) {
    for (; sent < (now * rate) / 1000; sent++) arriving.push((sent * 1000) / rate);
    while ((resting[0] ?? Number.POSITIVE_INFINITY) <= now) arriving.push(resting.shift() ?? 0);
    const began = now;
    const upstream: number[] = [];
    const came = arriving.splice(0);
    const isClosed = (at: number) => callers > 0 && at >= 0;
    for (const at of came) {
      // The answers of the turn before are among the calls that come.
      if (!ration.refuses(0, now - began)) {
        now += CALL_MS / 2;
        upstream.push(at);
      } else {
        now += REFUSAL_MS;
        refused++;
        settledAt = now;
        if (isClosed(at)) rest(now + 1000 + 1000 * ((refused * GOLDEN_RATIO) % 1));
      }
      const done = answered.pop();
      if (done !== undefined) finish(done);
    }
    while (answered.length > 0) finish(answered.pop() as number);
    answered = upstream.toReversed();
    if (now === began) now += 0.1;
    else turns++;
    if (now - sampledAt >= 250) {
      ration.sample((now - sampledAt) / Math.max(1, turns), { ...OPTIONS, held: resting.length });
      sampledAt = now;
      turns = 0;
    }
  }
  function rest(until: number): void {
    resting.splice(resting.findLastIndex((each) => each <= until) + 1, 0, until);
  }
  function finish(at: number): void {
    now += CALL_MS / 2;
    if (now > SETTLED_MS) latencies.push(now - at);
    if (callers > 0) arriving.push(now);
  }
  const sorted = latencies.toSorted((a, b) => a - b);
  return {
    goodput: latencies.length / (seconds - SETTLED_MS / 1000) / PEAK,
    p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
    refused,
    settledAt,
  };
}

describe('a ration of calls', () => {
  it('begins after three late samples, without one in time in between', () => {
    expect(sampled(new Ration(), 2, 13).isOn).toBe(false);
    expect(sampled(sampled(sampled(new Ration(), 2, 13), 1, 6), 2, 13).isOn).toBe(false);
    expect(sampled(sampled(sampled(new Ration(), 2, 13), 1, 7), 1, 13).isOn).toBe(true);
    expect(sampled(new Ration(), 100, 12).isOn).toBe(false);
  });

  it('lets in what comes early in a turn, the higher classes for longer', () => {
    const ration = sampled(new Ration(), 3, 50);
    const refused = (ms: number) => {
      beginTurn(ration);
      return [0, 1, 2].map((rank) => ration.refuses(rank, ms));
    };
    expect(refused(0)).toEqual([false, false, false]);
    expect(refused(3.2)).toEqual([true, false, false]);
    expect(refused(6.3)).toEqual([true, true, false]);
    expect(refused(9.4)).toEqual([true, true, true]);
  });

  it('shrinks while turns are long and grows while they are short, within bounds', () => {
    const ration = sampled(new Ration(), 3, 50);
    /** Samples while somebody is refused in each; then for how long calls are let in. */
    const rationAfter = (samples: number, turnMs: number) => {
      for (let at = 0; at < samples; at++) {
        beginTurn(ration);
        ration.refuses(0, 1000);
        sampled(ration, 1, turnMs);
      }
      beginTurn(ration);
      let ms = 0.01;
      while (ms < 100 && !ration.refuses(0, ms)) ms += 0.1;
      return ms;
    };
    expect(rationAfter(1, 12.5)).toBeCloseTo(1.6, 0);
    expect(rationAfter(10, 200)).toBeCloseTo(0.6, 0);
    expect(rationAfter(10, 1)).toBeCloseTo(12.6, 0);
  });

  it('ends when hardly anybody was refused for a second', () => {
    const ration = sampled(new Ration(), 3, 50);
    for (let samples = 0; samples < 40; samples++) {
      beginTurn(ration);
      ration.refuses(0, 50);
      sampled(ration, 1, 5);
      expect(ration.isOn).toBe(true);
    }
    for (let samples = 0; samples < 4; samples++) {
      expect(ration.isOn).toBe(true);
      for (let calls = 0; calls < 99; calls++) ration.refuses(0, 0);
      beginTurn(ration);
      ration.refuses(0, 50);
      sampled(ration, 1, 5);
    }
    expect(ration.isOn).toBe(false);
  });

  it('goes on as long as many have been refused and not been told: they will come again', () => {
    const ration = sampled(new Ration(), 3, 50);
    const second = (held: number) => {
      for (let samples = 0; samples < 4; samples++) {
        for (let calls = 0; calls < 250; calls++) ration.refuses(0, 0);
        ration.sample(1.5, { ...OPTIONS, held });
      }
      return ration.isOn;
    };
    expect([second(500), second(31), second(30)]).toEqual([true, true, false]);
  });

  it.each([3, 6, 12])('ends within two seconds where turns of %d ms are not for the few calls that come', (turnMs) => {
    const ration = sampled(new Ration(), 3, 50);
    let samples = 0;
    for (; ration.isOn && samples < 1000; samples++) {
      for (let turns = 0; turns < 250 / turnMs; turns++) {
        for (let call = 0; call < 8; call++) ration.refuses(0, (call / 8) * turnMs);
      }
      ration.sample(turnMs, OPTIONS);
    }
    expect(samples).toBeLessThanOrEqual(8);
  });

  it('is none where calls may wait for ever, also when that is said later', () => {
    const ration = sampled(new Ration(), 3, 50);
    ration.sample(50, { ...OPTIONS, delayMs: 0 });
    expect(ration.isOn).toBe(false);
    for (let samples = 0; samples < 10; samples++) ration.sample(5000, { ...OPTIONS, delayMs: 0 });
    expect([ration.isOn, ration.refuses(0, 1000)]).toEqual([false, false]);
  });
});

describe('an event loop, simulated', () => {
  const peak = simulated(new Ration(), 10, { callers: 64 });

  it('refuses none of 64 callers that take all it has', () => {
    expect(peak.refused).toBe(0);
    expect(peak.goodput).toBeGreaterThan(0.99);
  });

  it.each([1000, 3000])('refuses none of %d calls that come at once', (burst) => {
    expect(simulated(new Ration(), 5, { burst }).refused).toBe(0);
  });

  it.each([
    ['twice the calls a second', { rate: 2 * PEAK }, 0.8],
    ['three times the calls a second', { rate: 3 * PEAK }, 0.6],
    ['four times the callers', { callers: 256 }, 0.8],
    ['sixteen times the callers', { callers: 1024 }, 0.8],
  ])('keeps goodput and latency at %s', (_, load, share) => {
    const { goodput, p99 } = simulated(new Ration(), 20, load);
    expect(goodput).toBeGreaterThan(share * peak.goodput);
    expect(p99).toBeLessThan(2 * peak.p99);
  });

  it('refuses nobody two seconds after the load has gone back to the peak', () => {
    const ration = new Ration();
    expect(simulated(ration, 10, { rate: 2 * PEAK }).refused).toBeGreaterThan(10_000);
    expect(simulated(ration, 10, { callers: 64 }).settledAt).toBeLessThan(2000);
    expect(ration.isOn).toBe(false);
  });
});
