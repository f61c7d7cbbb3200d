import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { errorTable, GatewayError, type Reason } from '../../src/errors.ts';
import { lineOf } from '../../src/telemetry/call-line.ts';
import { keepWords } from '../../src/telemetry/kept-content.ts';
import { type CallFilter, listCalls } from '../../src/telemetry/list-calls.ts';
import { KEPT_CALLS, RecentCalls } from '../../src/telemetry/recent-calls.ts';
import { endedCall, type ToldCall, usageOf } from './ended-call.ts';
import { completionRequest, textEvent } from './said.ts';

const all: CallFilter = { pageToken: '', provider: '', model: '', outcome: '', key: '', requestId: '' };

function kept(...calls: ToldCall[]): RecentCalls {
  const recent = new RecentCalls();
  for (const call of calls) recent.add(JSON.stringify(lineOf(endedCall(call))), Date.UTC(2026, 10, 26));
  return recent;
}

describe('the line of a call', () => {
  it('tells ids, decision, attempts, times, tokens, cost and outcome', () => {
    const usage = usageOf(10, 5, { cachedPromptTokens: 4, reasoningTokens: 2 });
    const call = endedCall({
      attempts: [
        { target: 'groq/m1', reason: 'provider_timeout', tookMs: 12.1 },
        { target: 'gemini/m2', tookMs: 34, usage },
      ],
      usage,
      costUsd: 0.5,
      firstMs: 50,
      durationMs: 60,
      key: 'search',
      tier: 'premium',
      requestId: 'id-1',
      user: 'someone',
      cache: 'miss',
    });
    call.notes.decision = { route: 'fast', strategy: 'failover', targets: [] };
    expect(JSON.parse(JSON.stringify(lineOf(call)))).toMatchObject({
      request_id: 'id-1',
      door: 'openai',
      key: 'search',
      tier: 'premium',
      operation: 'chat',
      user: 'someone',
      asked: 'a-model',
      route: 'fast',
      strategy: 'failover',
      provider: 'gemini',
      model: 'm2',
      cache: 'miss',
      outcome: 'ok',
      attempts: 2,
      tried: [
        { provider: 'groq', model: 'm1', outcome: 'provider_timeout', ms: 12.1 },
        {
          provider: 'gemini',
          model: 'm2',
          outcome: 'ok',
          ms: 34,
          usage: { prompt: 10, completion: 5, cached: 4, reasoning: 2 },
        },
      ],
      first_ms: 50,
      duration_ms: 60,
      cost_usd: 0.5,
      usage: { prompt: 10, completion: 5 },
    });
  });

  const quoting: readonly Reason[] = ['invalid_request', 'provider_rejected', 'context_length', 'cancelled'];

  it.each(Object.keys(errorTable) as Reason[])('of one that failed by %s quotes no prompt', (reason) => {
    const line = lineOf(endedCall({ reason, failure: new GatewayError(reason, 'message') }));
    expect(line.outcome).toBe(reason);
    expect(line.error).toBe(quoting.includes(reason) ? undefined : 'message');
  });

  it('has the stack of a mistake of ours, and of nothing else', () => {
    const failure = GatewayError.from(new TypeError('a mistake'));
    expect(lineOf(endedCall({ reason: 'internal', failure })).cause).toContain('TypeError: a mistake');
    const other = new GatewayError('provider_unavailable', 'down', { cause: new Error('secret') });
    expect(JSON.stringify(lineOf(endedCall({ reason: other.reason, failure: other })))).not.toContain('secret');
  });

  // A request that is refused for its length was told whole: too long a line to be written, and kept a thousand times.
  it('has a bound, however long a caller or a provider makes what it tells', () => {
    const long = 'x'.repeat(1_000_000);
    const call = endedCall({ attempts: [{ target: `groq/m` }], asked: long, user: long, model: long });
    for (const log of call.attempts) log.providerRequestId = long;
    const line = lineOf(call);
    expect(JSON.stringify(line).length).toBeLessThan(4000);
    expect(line.asked).toBe(`${'x'.repeat(512)}…`);
  });

  it('has neither prompt nor answer, unless they are kept', () => {
    expect(Object.keys(JSON.parse(JSON.stringify(lineOf(endedCall()))))).not.toContain('prompt');
    const content = { prompt: 'hi', answer: 'hello' };
    expect(lineOf(endedCall({ content }))).toMatchObject(content);
  });
});

describe('the calls that ended last', () => {
  it('are kept whole, newest first, and no more than 1,000', () => {
    const recent = new RecentCalls();
    const lines = Array.from({ length: 2500 }, (_, index) => ({
      request_id: `${index}`,
      text: 'ä😀'.repeat(index % 700),
    }));
    for (const [index, line] of lines.entries()) recent.add(JSON.stringify(line), index);
    const found = [...recent.before()];
    expect(found.length).toBe(KEPT_CALLS);
    expect(found.map(({ line }) => line)).toEqual(lines.slice(-KEPT_CALLS).reverse());
    expect(found[0]).toMatchObject({ number: 2499, endedMs: 2499 });
  });

  it('are listed by pages that join, while calls go on', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1300 }),
        fc.integer({ min: 1, max: 400 }),
        fc.nat(5),
        (count, pageSize, between) => {
          const recent = new RecentCalls();
          const add = (id: string) => recent.add(JSON.stringify({ ...lineOf(endedCall({ requestId: id })) }), 0);
          for (let index = 0; index < count; index++) add(`${index}`);
          const listed: string[] = [];
          let pageToken = '';
          do {
            const page = listCalls(recent, { ...all, pageSize, pageToken });
            expect(page.calls.length).toBeLessThanOrEqual(pageSize);
            listed.push(...page.calls.map(({ requestId }) => requestId));
            pageToken = page.nextPageToken;
            for (let later = 0; later < between; later++) add('later');
          } while (pageToken !== '');
          const expected = Array.from({ length: count }, (_, index) => `${count - 1 - index}`);
          expect(listed).toEqual(expected.slice(0, listed.length));
          if (between === 0) expect(listed.length).toBe(Math.min(count, KEPT_CALLS));
        },
      ),
      { numRuns: 20 },
    );
  });

  it('are listed by provider, model, outcome, key or id', () => {
    const recent = kept(
      { requestId: 'a', attempts: [{ target: 'groq/m1' }], key: 'k1' },
      {
        requestId: 'b',
        attempts: [{ target: 'gemini/m2', reason: 'provider_timeout' }],
        reason: 'provider_timeout',
        key: 'k2',
      },
      { requestId: 'c', reason: 'rate_limited', key: 'k2', asked: 'm1' },
      { requestId: 'd', reason: 'cancelled' },
    );
    const ids = (filter: Partial<CallFilter>) =>
      listCalls(recent, { ...all, ...filter }).calls.map((each) => each.requestId);
    expect(ids({})).toEqual(['d', 'c', 'b', 'a']);
    expect(ids({ provider: 'groq' })).toEqual(['a']);
    expect(ids({ model: 'm1' })).toEqual(['c', 'a']);
    expect(ids({ outcome: 'error' })).toEqual(['b']);
    expect(ids({ outcome: 'refused' })).toEqual(['c']);
    expect(ids({ outcome: 'ok' })).toEqual(['a']);
    expect(ids({ key: 'k2', outcome: 'refused' })).toEqual(['c']);
    expect(ids({ requestId: 'b' })).toEqual(['b']);
  });

  it('are told with all that was noted', () => {
    const usage = usageOf(10, 5, { cachedPromptTokens: 4 });
    const recent = kept({
      attempts: [
        { target: 'groq/m1', reason: 'provider_timeout', tookMs: 12 },
        { target: 'groq/m1', tookMs: 30, usage },
      ],
      usage,
      costUsd: 0.5,
      durationMs: 1500,
      firstMs: 250,
    });
    const [call] = listCalls(recent, all).calls;
    expect(call).toMatchObject({
      outcome: 'ok',
      reason: '',
      provider: 'groq',
      model: 'm1',
      costUsd: 0.5,
      duration: { seconds: 1n, nanos: 500_000_000 },
      firstEvent: { nanos: 250_000_000 },
      usage: { promptTokens: 10, completionTokens: 5, totalTokens: 15, cachedPromptTokens: 4 },
      attempts: [
        {
          provider: 'groq',
          outcome: AttemptOutcome.FAILED,
          reason: 'provider_timeout',
          duration: { nanos: 12_000_000 },
        },
        { provider: 'groq', outcome: AttemptOutcome.SUCCEEDED, reason: '', usage: { promptTokens: 10 } },
      ],
    });
    expect(call?.phases.overhead?.seconds).toBe(1n);
  });

  it.each<[string, Partial<CallFilter>]>([
    ['page_size', { pageSize: 0 }],
    ['page_size', { pageSize: 1001 }],
    ['outcome', { outcome: 'good' }],
  ])('are not listed where %s is out of bounds: %j', (field, filter) => {
    expect(() => listCalls(kept(), { ...all, ...filter })).toThrow(`${field}: must be`);
  });

  it.each(['x', '-1', '1.5', '9'.repeat(16)])('are not listed from %j on', (pageToken) => {
    expect(() => listCalls(kept(), { ...all, pageToken })).toThrow('page_token');
  });
});

describe('words that are kept', () => {
  it('are those of all messages and of the answer, and 16,384 characters at most', () => {
    const content = keepWords(completionRequest('one', 'two'));
    content.add(textEvent('a'));
    content.add(textEvent('b'));
    expect(content.kept()).toEqual({ prompt: 'one\ntwo', answer: 'ab' });

    const long = keepWords(completionRequest('x'.repeat(50_000), 'y'));
    for (let index = 0; index < 1000; index++) long.add(textEvent('z'.repeat(100)));
    expect([long.kept().prompt.length, long.kept().answer.length]).toEqual([16_384, 16_384]);
  });
});
