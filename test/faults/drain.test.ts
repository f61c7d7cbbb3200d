import { describe, expect, it } from 'vitest';
import { openDoors } from '../support/doors.ts';
import { startGatewayProcess } from '../support/gateway.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { chunk, saying, startScriptedUpstream, usageChunk } from '../support/scripted-upstream.ts';

describe('SIGTERM', () => {
  it('makes the gateway not ready first, lets every stream finish, and ends it with 0', {
    timeout: 30_000,
  }, async () => {
    const upstream = await startScriptedUpstream();
    const gateway = await startGatewayProcess({ providers: [scriptedProvider('scripted', upstream)] });
    const doors = openDoors(gateway.url);
    const streams = doors.all.filter(({ streaming }) => streaming);
    const outcomes = streams.map(({ ask }) => ask({ model: 'scripted-model' }));
    const exchanges = await Promise.all(streams.map(() => upstream.next()));
    for (const exchange of exchanges) await exchange.event(chunk({ content: 'before ' }));
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);

    gateway.process.kill('SIGTERM');
    let ready = 200;
    while (ready === 200) ready = (await fetch(`${gateway.url}/readyz`).catch(() => ({ status: 0 }))).status;
    for (const exchange of exchanges) {
      await exchange.event(chunk({ content: 'after' }, 'stop'));
      await exchange.event(usageChunk);
      exchange.done();
    }

    for (const { failure, told } of await Promise.all(outcomes)) {
      expect([failure, told.text, told.finish_reason]).toEqual([undefined, 'before after', 'stop']);
    }
    expect(ready).toBe(503);
    expect(await gateway.ended).toBe(0);
    await doors.close();
    await upstream.close();
  });

  it('ends an idle gateway at once, with 0', async () => {
    const upstream = await startScriptedUpstream();
    const gateway = await startGatewayProcess({ providers: [scriptedProvider('scripted', upstream)] });
    upstream.script(saying('hi'));
    const doors = openDoors(gateway.url);
    for (const { ask } of doors.all) await ask({ model: 'scripted-model' });
    const asked = performance.now();
    gateway.process.kill('SIGTERM');
    expect(await gateway.ended).toBe(0);
    expect(performance.now() - asked).toBeLessThan(5000);
    await doors.close();
    await upstream.close();
  });

  it('cuts off what is not over after the drain timeout, as a failure', { timeout: 30_000 }, async () => {
    const upstream = await startScriptedUpstream();
    const gateway = await startGatewayProcess({
      server: { drain_timeout: '300ms' },
      providers: [scriptedProvider('scripted', upstream)],
    });
    const doors = openDoors(gateway.url);
    const streams = doors.all.filter(({ streaming }) => streaming);
    const outcomes = streams.map(({ ask }) => ask({ model: 'scripted-model' }));
    const exchanges = await Promise.all(streams.map(() => upstream.next()));
    for (const exchange of exchanges) await exchange.event(chunk({ content: 'never ends' }));
    gateway.process.kill('SIGTERM');
    for (const { failure, told } of await Promise.all(outcomes)) {
      expect([failure === undefined, told.finish_reason]).toEqual([false, undefined]);
    }
    await gateway.ended;
    await doors.close();
    await upstream.close();
  });
});
