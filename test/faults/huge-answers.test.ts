import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshName, type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { chunk, type Exchange, saying, usageChunk } from '../support/scripted-upstream.ts';

const MEBIBYTE = 1024 * 1024;

let scripted: ScriptedGateway;
beforeAll(async () => {
  scripted = await startScriptedGateway({ timeouts: { total_stream: '1500ms' } });
  scripted.other.script(saying('from the second'));
});
afterAll(() => scripted.close());

/** Send as much of a text as is wanted, which is far more than may be. */
async function flood(exchange: Exchange, piece: string, megabytes: number): Promise<void> {
  const gone = exchange.closed.then(() => true);
  for (let sent = 0; sent < megabytes * MEBIBYTE; sent += piece.length) {
    if (await Promise.race([gone, exchange.write(piece)])) return;
  }
}

describe('a whole answer without end', () => {
  it('is 502 at its 16 MiB, closes the provider, and leads to the next one where there is one', async () => {
    let leftEarly = 0;
    scripted.upstream.script(async (exchange) => {
      void exchange.closed.then(({ left }) => left && leftEarly++);
      exchange.head({ 'content-type': 'application/json' });
      await exchange.write('{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"');
      await flood(exchange, 'x'.repeat(MEBIBYTE), 1_000);
    });
    const before = process.memoryUsage.rss();
    let most = before;
    const unary = scripted.doors.all.filter(({ streaming }) => !streaming);
    for (const { name, ask } of unary) {
      const { failure } = await ask({ model: freshName(), fallback: false });
      most = Math.max(most, process.memoryUsage.rss());
      expect([name, failure?.reason, failure?.status ?? failure?.code]).toEqual([
        name,
        'provider_protocol',
        failure?.status ? 502 : 'unavailable',
      ]);
      const { told } = await ask({ model: freshName() });
      expect([name, told.text]).toEqual([name, 'from the second']);
    }
    await expect.poll(() => leftEarly).toBe(2 * unary.length);
    // The upstream's own buffers are of this process, too.
    expect((most - before) / MEBIBYTE).toBeLessThan(200);
  });
});

describe('a stream without end', () => {
  it('ends with the time of the call, and closes the provider', async () => {
    scripted.upstream.script(async (exchange) => {
      await flood(exchange, `data: ${JSON.stringify(chunk({ content: 'x'.repeat(1_000) }))}\n\n`, 100_000);
    });
    const { ask } = scripted.doors.named('openai stream');
    const began = performance.now();
    const { failure } = await ask({ model: freshName() });
    expect(performance.now() - began).toSatisfy((ms: number) => ms > 1_400 && ms < 3_000);
    expect(failure?.reason).toBe('deadline_exceeded');
    await expect.poll(() => scripted.upstream.openAnswers()).toBe(0);
  });
});

describe('one line of 10 MB', () => {
  const streams = () => scripted.doors.all.filter(({ streaming }) => streaming);
  const line = `data: ${JSON.stringify(chunk({ content: 'x'.repeat(10 * MEBIBYTE) }))}\n\n`;

  it('is 502 where nothing was said before, and leads elsewhere', async () => {
    scripted.upstream.script((exchange) => exchange.write(line).then(() => exchange.done()));
    for (const { name, ask } of streams()) {
      const { failure } = await ask({ model: freshName(), fallback: false });
      expect([name, failure?.reason, failure?.status ?? failure?.code]).toEqual([
        name,
        'provider_protocol',
        failure?.status ? 502 : 'unavailable',
      ]);
      expect((await ask({ model: freshName() })).told.text).toBe('from the second');
    }
  });

  it('ends a stream that has begun after what was said', async () => {
    scripted.upstream.script(async (exchange) => {
      await exchange.event(chunk({ content: 'one ' }));
      await exchange.write(line);
      exchange.done();
    });
    const asked = scripted.other.requests.length;
    for (const { name, ask } of streams()) {
      const { failure, told } = await ask({ model: freshName() });
      expect([name, failure?.reason, told.text]).toEqual([name, 'provider_protocol', 'one ']);
    }
    expect(scripted.other.requests.length).toBe(asked);
  });

  it('of comments before an answer is a failure as well', async () => {
    scripted.upstream.script((exchange) =>
      exchange.write(`: ${'x'.repeat(10 * MEBIBYTE)}\n\n`).then(() => saying('hi')(exchange)),
    );
    const { failure } = await scripted.doors.named('grpc stream').ask({ model: freshName(), fallback: false });
    expect(failure?.reason).toBe('provider_protocol');
  });

  it('cut into small events is no fault', async () => {
    scripted.upstream.script(async (exchange) => {
      for (let sent = 0; sent < 10; sent++) await exchange.event(chunk({ content: 'x'.repeat(MEBIBYTE / 2) }));
      await exchange.event(chunk({}, 'stop'));
      await exchange.event(usageChunk);
      exchange.done();
    });
    const { failure, told } = await scripted.doors.named('grpc stream').ask({ model: freshName() });
    expect([failure, told.text.length]).toEqual([undefined, 5 * MEBIBYTE]);
  });
});
