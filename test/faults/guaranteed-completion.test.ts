import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { brokenLaws } from '../support/event-laws.ts';
import { httpPost, sendRaw } from '../support/raw-http.ts';
import { scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import {
  chunk,
  type Exchange,
  type ScriptedUpstream,
  saying,
  startScriptedUpstream,
  usageChunk,
} from '../support/scripted-upstream.ts';

let first: ScriptedUpstream;
let second: ScriptedUpstream;
beforeEach(async () => {
  first = await startScriptedUpstream();
  second = await startScriptedUpstream();
  second.script(saying('the ', 'whole ', 'text'));
});
afterEach(() => Promise.all([first.close(), second.close()]));

/** Two providers in order; names `buffered-…` are routes that guarantee a whole answer, names `plain-…` do not. */
async function start(more: Record<string, object> = {}) {
  const targets = [
    { provider: 'first', model: '' },
    { provider: 'second', model: '' },
  ];
  const started = await startGatewayOver([scriptedProvider('first', first), scriptedProvider('second', second)], {
    routes: [
      { model: 'buffered-*', strategy: 'failover', guarantee: 'buffered', targets },
      { model: 'plain-*', strategy: 'failover', targets },
    ],
    ...more,
  });
  onTestFinished(() => started.close());
  return started;
}

const half = async (exchange: Exchange) => {
  await exchange.event(chunk({ content: 'the ' }));
  await exchange.event(chunk({ content: 'wh' }));
};

/** Say half a text, and then break off; whole answers end in the middle of their JSON. */
const cutBy = (breakOff: (exchange: Exchange) => unknown) => async (exchange: Exchange) => {
  if (exchange.request.body?.stream !== true) {
    exchange.text('{"choices":[{"index":0,"message":{"content":"the wh');
    return;
  }
  await half(exchange);
  await breakOff(exchange);
};

const cut = cutBy((exchange) => exchange.reset());

/** Ways in which an answer is cut off in its middle. */
const cuts: [string, (exchange: Exchange) => unknown][] = [
  ['reset', cut],
  ['ended without a finish reason', cutBy((exchange) => exchange.end())],
  [
    'broken by an error',
    cutBy((exchange) => exchange.event({ error: { message: 'boom', code: 500 } }).then(() => exchange.done())),
  ],
  ['broken by nonsense', cutBy((exchange) => exchange.event('{"choi').then(() => exchange.done()))],
  ['stalled', cutBy(() => {})],
];

describe('a guaranteed answer', () => {
  it.each(cuts)(
    'that is %s in the middle comes from the next provider, whole and once, at every door',
    async (_, script) => {
      const { doors } = await start({ timeouts: { idle: '200ms', attempt_unary: '400ms' } });
      first.script(script);
      const outcomes = await Promise.all(
        doors.all.flatMap(({ name, ask }, at) => [
          ask({ model: `buffered-${at}` }).then((outcome) => ({ name: `${name}, by route`, ...outcome })),
          ask({ model: `plain-${at}`, guarantee: 'buffered' }).then((outcome) => ({
            name: `${name}, by request`,
            ...outcome,
          })),
        ]),
      );
      for (const { name, failure, told, completion, events } of outcomes) {
        expect([name, failure, told.text, told.finish_reason]).toEqual([name, undefined, 'the whole text', 'stop']);
        expect(told.usage).toMatchObject({ prompt: 5, completion: 2 });
        if (completion) expect(completion.provider).toBe('second');
        if (events) expect(brokenLaws(events)).toEqual([]);
      }
    },
  );

  it('is asked of the same provider once more, where there is no other', async () => {
    const { doors } = await start();
    const cutOnce = new Set<unknown>();
    first.script(async (exchange) => {
      const { model } = exchange.request.body ?? {};
      if (cutOnce.has(model)) return saying('the whole text')(exchange);
      cutOnce.add(model);
      await cut(exchange);
    });
    for (const [at, { name, ask }] of doors.all.entries()) {
      const { failure, told } = await ask({ model: `buffered-${at}`, fallback: false });
      expect([name, failure, told.text]).toEqual([name, undefined, 'the whole text']);
    }
    expect(second.requests).toEqual([]);
  });

  it('is none where the request says so, nor anywhere by default', async () => {
    const { doors } = await start();
    first.script(cut);
    for (const [at, { name, ask }] of doors.all.filter(({ streaming }) => streaming).entries()) {
      for (const asked of [{ model: `buffered-${at}`, guarantee: 'none' as const }, { model: `plain-${at}` }]) {
        const { failure, told } = await ask(asked);
        expect([name, failure === undefined, told.text]).toEqual([name, false, 'the wh']);
      }
    }
    expect(second.requests).toEqual([]);
  });

  it('fails with all its attempts where every provider cuts it off, and nothing of it is told', async () => {
    const { doors } = await start();
    for (const each of [first, second]) each.script(cut);
    for (const [at, { name, ask }] of doors.all.entries()) {
      const { failure, told, headers } = await ask({ model: `buffered-${at}` });
      expect([name, told.text, /^provider_(unavailable|protocol)$/.test(failure?.reason ?? '')]).toEqual([
        name,
        '',
        true,
      ]);
      if (failure?.status) expect([name, headers['x-gateway-attempts']]).toEqual([name, '3']);
    }
  });

  it('keeps its connection by heartbeats while it is held back, and comes in one piece', {
    timeout: 20_000,
  }, async () => {
    const { doors, gateway } = await start({ timeouts: { heartbeat: '50ms' } });
    first.script(async (exchange) => {
      for (let word = 0; word < 10; word++) {
        await exchange.event(chunk({ content: `word${word} ` }));
        await pause(40);
      }
      await exchange.event(chunk({}, 'stop'));
      await exchange.event(usageChunk);
      exchange.done();
    });
    const whole = Array.from({ length: 10 }, (_, word) => `word${word} `).join('');
    for (const { name, ask } of doors.all.filter(({ streaming }) => streaming)) {
      const { failure, told, events } = await ask({ model: 'buffered-x' });
      expect([name, failure, told.text]).toEqual([name, undefined, whole]);
      if (!events) continue;
      const kinds = events.map(({ event }) => event.case);
      expect(kinds.filter((kind) => kind === 'heartbeat').length).toBeGreaterThanOrEqual(4);
      expect(kinds.lastIndexOf('heartbeat')).toBeLessThan(kinds.indexOf('started'));
      expect(brokenLaws(events)).toEqual([]);
    }
    for (const path of ['/v1/chat/completions', '/completion']) {
      const body = JSON.stringify({ model: 'buffered-x', stream: true, messages: [{ role: 'user', content: 'hi' }] });
      const answer = await sendRaw(gateway.port, httpPost(path, body));
      expect(answer.body.split(': ping').length).toBeGreaterThan(4);
    }
  });

  it('ends with the time of the call, told in words', async () => {
    const { doors } = await start({ timeouts: { total_stream: '500ms', total_unary: '500ms', total_native: '500ms' } });
    first.script(async (exchange) => {
      const gone = exchange.closed.then(() => true);
      while (!(await Promise.race([gone, exchange.event(chunk({ content: 'more ' })).then(() => pause(20))])));
    });
    for (const { name, ask } of doors.all.filter(({ streaming }) => streaming)) {
      const { failure, told } = await ask({ model: 'buffered-x' });
      expect([name, failure?.reason, told.text]).toEqual([name, 'deadline_exceeded', '']);
    }
    await expect.poll(() => first.openAnswers()).toBe(0);
  });

  it('closes its provider when the caller leaves', async () => {
    const { doors } = await start();
    first.script(undefined);
    for (const { ask } of doors.all.filter(({ streaming }) => streaming)) {
      const leaving = new AbortController();
      const left = ask({ model: 'buffered-x', signal: leaving.signal });
      const exchange = await first.next();
      await exchange.event(chunk({ content: 'held back' }));
      await pause(20);
      const began = performance.now();
      leaving.abort();
      expect((await exchange.closed).left).toBe(true);
      expect(performance.now() - began).toBeLessThan(250);
      await left;
    }
    expect(second.requests).toEqual([]);
  });

  it('larger than 16 MiB is refused: nobody can hold it', { timeout: 30_000 }, async () => {
    const { doors } = await start({ retry: { attempts: 1 } });
    first.script(async (exchange) => {
      const gone = exchange.closed.then(() => true);
      const event = `data: ${JSON.stringify(chunk({ content: 'x'.repeat(500_000) }))}\n\n`;
      for (let sent = 0; sent < 40 && !(await Promise.race([gone, exchange.write(event)])); sent++);
      exchange.done();
    });
    const { failure, told } = await doors.named('openai stream').ask({ model: 'buffered-x' });
    expect([failure?.reason, told.text]).toEqual(['provider_protocol', '']);
    expect(failure?.message).toContain('cannot be held back');
  });
});
