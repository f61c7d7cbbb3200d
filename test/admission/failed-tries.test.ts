import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { clientNetwork } from '../../src/admission/client-network.ts';
import { FailedTries } from '../../src/admission/failed-tries.ts';

const limits = { burst: 3, perSecond: 2, clients: 100 };

describe('failed tries', () => {
  it('are limited to a burst, and then to what comes back in time', () => {
    const tries = new FailedTries(limits);
    const at = (nowMs: number) => tries.add('192.0.2.1', nowMs);
    expect([at(0), at(0), at(0), at(0)]).toEqual([undefined, undefined, undefined, 500]);
    expect([at(400), at(500), at(500)]).toEqual([100, undefined, 500]);
    expect([at(60_000), at(60_000), at(60_000), at(60_000)]).toEqual([undefined, undefined, undefined, 500]);
  });

  it('of one address are nothing to another', () => {
    const tries = new FailedTries({ ...limits, burst: 1 });
    expect(tries.add('192.0.2.1', 0)).toBeUndefined();
    expect(tries.add('192.0.2.1', 0)).toBe(500);
    expect(tries.add('192.0.2.2', 0)).toBeUndefined();
    expect(tries.add('2001:db8::1', 0)).toBeUndefined();
    expect(tries.add('2001:db8:0:1::1', 0)).toBeUndefined();
  });

  it('of all addresses of one IPv6 network count together', () => {
    const tries = new FailedTries({ ...limits, burst: 1 });
    expect(tries.add('2001:db8::1', 0)).toBeUndefined();
    expect(tries.add('2001:db8::ffff:0:0:1', 0)).toBe(500);
  });

  it('are remembered of a bounded number of clients, of which the longest silent one is forgotten', () => {
    const tries = new FailedTries({ burst: 1, perSecond: 1, clients: 2 });
    tries.add('192.0.2.1', 0);
    tries.add('192.0.2.2', 0);
    expect(tries.add('192.0.2.1', 1)).toBe(999);
    tries.add('192.0.2.3', 2);
    expect(tries.size).toBe(2);
    expect(tries.add('192.0.2.1', 3)).toBe(997);
    expect(tries.add('192.0.2.2', 3)).toBeUndefined();
  });

  it('are never more than the burst and what came back, whenever they come and however the clock steps', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -5000, max: 5000 }), { maxLength: 200 }), (steps) => {
        const tries = new FailedTries(limits);
        let nowMs = 0;
        let forwardMs = 0;
        let letIn = 0;
        for (const step of steps) {
          nowMs += step;
          forwardMs += Math.max(0, step);
          if (tries.add('192.0.2.1', nowMs) === undefined) letIn++;
        }
        expect(letIn).toBeLessThanOrEqual(limits.burst + (forwardMs / 1000) * limits.perSecond + 1e-6);
      }),
    );
  });
});

describe('the network of a client', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['', ''],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:2::9', '2001:db8:1:2::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['1:2:3:4:5:6:192.0.2.1', '1:2:3:4::/64'],
    ['1::4:5:6:192.0.2.1', '1:0:0:4::/64'],
  ])('of %s is %s', (address, network) => {
    expect(clientNetwork(address)).toBe(network);
  });
});
