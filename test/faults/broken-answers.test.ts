import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Door, Outcome } from '../support/doors.ts';
import { freshName, type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { chunk, type Exchange, saying, usageChunk, wholeAnswer } from '../support/scripted-upstream.ts';

/** What a door of any family may call a failure of the provider. */
interface Named {
  readonly reason: RegExp;
  readonly status: readonly number[];
  readonly code: readonly string[];
}

const protocol: Named = { reason: /^provider_protocol$/, status: [502], code: ['unavailable'] };
const unavailable: Named = { reason: /^provider_unavailable$/, status: [503], code: ['unavailable'] };
const timeout: Named = { reason: /^provider_timeout$/, status: [504], code: ['deadline_exceeded'] };
/** Where a broken connection may be seen as either. */
const broken: Named = { reason: /^provider_(protocol|unavailable)$/, status: [502, 503], code: ['unavailable'] };

const said = ['one ', 'two '];

async function say(exchange: Exchange): Promise<void> {
  for (const word of said) await exchange.event(chunk({ content: word }));
}

/** Ways in which an upstream fails before it has said anything. */
const early: [string, (exchange: Exchange) => unknown, Named][] = [
  ['breaks the connection instead of answering', (exchange) => exchange.reset(), broken],
  ['never answers', () => {}, timeout],
  [
    'answers with the HTML page of a proxy',
    (exchange) => exchange.text('<html><h1>502 Bad Gateway</h1></html>', 502, { 'content-type': 'text/html' }),
    unavailable,
  ],
  [
    'answers 200 with an HTML page',
    (exchange) => exchange.text('<html>', 200, { 'content-type': 'text/html' }),
    protocol,
  ],
  ['answers 200 with nothing', (exchange) => exchange.text('', 200, { 'content-type': 'application/json' }), protocol],
  [
    'answers 200 with an error',
    (exchange) => exchange.json({ error: { message: 'overloaded', type: 'server_error', code: 500 } }),
    unavailable,
  ],
  ['answers 200 with half an answer', half, broken],
  ['answers 200 with no choices', (exchange) => exchange.json({ id: 'x', object: 'chat.completion' }), protocol],
  ['answers 500', (exchange) => exchange.json({ error: { message: 'boom' } }, 500), unavailable],
];

function half(exchange: Exchange): void {
  const text = JSON.stringify(wholeAnswer('one two three'));
  exchange.head({ 'content-type': 'application/json', 'content-length': String(text.length) });
  exchange.write(text.slice(0, text.length / 2)).then(() => exchange.reset());
}

/** Ways in which a stream fails before its first token. */
const beforeFirstToken: [string, (exchange: Exchange) => unknown, Named][] = [
  ['opens a stream and ends it', (exchange) => exchange.write('').then(() => exchange.end()), protocol],
  [
    'opens a stream and breaks the connection',
    (exchange) => exchange.write(': hi\n\n').then(() => exchange.reset()),
    broken,
  ],
  ['opens a stream and stalls', (exchange) => exchange.head(), timeout],
  ['says only [DONE]', (exchange) => exchange.done(), protocol],
  [
    'begins with an error event',
    (exchange) => exchange.event({ error: { message: 'overloaded', code: 503 } }).then(() => exchange.end()),
    unavailable,
  ],
  ['begins with garbage', (exchange) => exchange.event('{"choices":[{"del').then(() => exchange.done()), protocol],
];

/** Ways in which a stream fails once it has begun to speak. */
const midStream: [string, (exchange: Exchange) => unknown, Named][] = [
  ['breaks the connection', (exchange) => exchange.reset(), broken],
  ['ends without a finish reason', (exchange) => exchange.end(), protocol],
  ['ends with [DONE] but without a finish reason', (exchange) => exchange.done(), protocol],
  [
    'ends within an event',
    (exchange) => exchange.write('data: {"choices":[{"delta":{"conte').then(() => exchange.end()),
    protocol,
  ],
  ['stalls', () => {}, timeout],
  [
    'sends an error event',
    (exchange) =>
      exchange.event({ error: { message: 'boom', type: 'server_error', code: 500 } }).then(() => exchange.done()),
    unavailable,
  ],
  [
    'sends garbage',
    (exchange) => exchange.event('{"choices":[{"delta":{"content":"bro').then(() => exchange.done()),
    protocol,
  ],
  [
    'sends a page of HTML',
    (exchange) => exchange.write('<html><body>502</body></html>\n\n').then(() => exchange.end()),
    protocol,
  ],
];

describe('an answer that breaks', () => {
  let scripted: ScriptedGateway;

  beforeAll(async () => {
    scripted = await startScriptedGateway({
      timeouts: { first_token: '400ms', idle: '400ms', attempt_unary: '400ms' },
    });
  });
  beforeEach(() => scripted.upstream.script(undefined));
  afterAll(() => scripted.close());

  /** Ask at many doors at once, the first upstream answering as told. */
  function askAt(doors: readonly Door[], script: (exchange: Exchange) => unknown): Promise<[Door, Outcome][]> {
    scripted.upstream.script(script);
    return Promise.all(
      doors.map(
        async (door): Promise<[Door, Outcome]> => [door, await door.ask({ model: freshName(), fallback: false })],
      ),
    );
  }

  /** What keeps an outcome from being the plain failure that it must be. */
  function looksLikeSuccess(outcomes: [Door, Outcome][], { reason, status, code }: Named, opened: boolean): string[] {
    return outcomes.flatMap(([door, { failure, told }]) => {
      const at = `${door.name}: `;
      if (!failure) return `${at}no failure, but ${JSON.stringify(told)}`;
      const complaints: string[] = [];
      if (told.finish_reason) complaints.push(`finish reason ${told.finish_reason}`);
      if (failure.code !== undefined && !code.includes(failure.code)) complaints.push(`code ${failure.code}`);
      if (!reason.test(failure.reason ?? '')) complaints.push(`reason ${failure.reason}`);
      if (door.family !== 'rpc' && !opened && !status.includes(failure.status ?? 0))
        complaints.push(`status ${failure.status}`);
      if (door.family !== 'rpc' && opened && failure.status)
        complaints.push(`status ${failure.status} after the first token`);
      if (failure.message === '' || failure.message.includes('undefined'))
        complaints.push(`message ${failure.message}`);
      if (/no \[DONE\]|not an error|broken off|no last event/.test(failure.message)) complaints.push(failure.message);
      return complaints.map((complaint) => `${at}${complaint}`);
    });
  }

  it.each(early)('is a failure at every door when the upstream %s', async (_, script, named) => {
    const outcomes = await askAt(scripted.doors.all, script);
    expect(looksLikeSuccess(outcomes, named, false)).toEqual([]);
  });

  it.each(beforeFirstToken)('is a failure with its own status when a stream %s', async (_, script, named) => {
    const doors = scripted.doors.all.filter(({ streaming }) => streaming);
    const outcomes = await askAt(doors, script);
    expect(looksLikeSuccess(outcomes, named, false)).toEqual([]);
  });

  it.each(midStream)('is a failure after what was said when a stream %s', async (_, script, named) => {
    const doors = scripted.doors.all.filter(({ streaming }) => streaming);
    const outcomes = await askAt(doors, (exchange) => say(exchange).then(() => script(exchange)));
    expect(looksLikeSuccess(outcomes, named, true)).toEqual([]);
    for (const [door, { told }] of outcomes) expect([door.name, told.text]).toEqual([door.name, said.join('')]);
  });

  it('is a success when it is complete and lacks only [DONE]', async () => {
    const doors = scripted.doors.all.filter(({ streaming }) => streaming);
    const outcomes = await askAt(doors, async (exchange) => {
      await say(exchange);
      await exchange.event(chunk({}, 'stop'));
      await exchange.event(usageChunk);
      exchange.end();
    });
    for (const [door, { failure, told }] of outcomes) {
      expect([door.name, failure, told.text, told.finish_reason]).toEqual([door.name, undefined, 'one two ', 'stop']);
      expect(told.usage).toMatchObject({ prompt: 5, completion: 2, total: 7 });
    }
  });

  it('leaves the gateway able to answer', async () => {
    const outcomes = await askAt(scripted.doors.all, saying('fine'));
    for (const [door, { failure, told }] of outcomes)
      expect([door.name, failure, told.text]).toEqual([door.name, undefined, 'fine']);
    expect(scripted.gateway.app.inFlight()).toBe(0);
  });
});
