import { describe, expect, it, vi } from 'vitest';
import { AttemptOutcome, type CompletionEvent, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { firstToCommit, type Plan } from '../../src/attempt/first-to-commit.ts';
import { completions } from '../../src/attempt/operation.ts';
import {
  choiceFinished,
  collect,
  extra,
  finished,
  reasoningDelta,
  started,
  textDelta,
  usage,
} from '../../src/completion.ts';
import { GatewayError, type Reason } from '../../src/errors.ts';
import type { Price, Target } from '../../src/providers/target.ts';
import { Room } from '../../src/room.ts';
import { Observations } from '../../src/routing/observations.ts';
import { contextOf, guardsFor, requestOf, type Step, scripted, targetOf } from './fake-provider.ts';

const consumed = {
  $typeName: 'llmgateway.v1.Usage' as const,
  promptTokens: 3,
  completionTokens: 1,
  totalTokens: 4,
  estimated: false,
};
const answer = (text: string): Step[] => [
  started('answering-model'),
  textDelta(0, 0, text),
  choiceFinished(0, FinishReason.STOP, 'stop'),
  finished(consumed),
];
const failure = (reason: Reason) => new GatewayError(reason, `made up: ${reason}`);

function run(targets: readonly Target[], context = contextOf(), more: Partial<Plan> = {}) {
  const observations = new Observations();
  const guards = guardsFor(observations);
  const plan = {
    targets,
    attemptsPerTarget: 1,
    attempts: 10,
    baseDelayMs: 1,
    maxDelayMs: 10,
    waitWhenLimited: false,
    hedgeAfterMs: undefined,
    buffered: false,
    ...more,
  };
  const guardOf = ({ provider, model }: Target) => guards.of(provider.name, model);
  const complete = firstToCommit(completions, { planFor: () => plan, guardOf, held: new Room(1e9), random: () => 0.5 });
  return { events: complete(requestOf(), context), recordOf: (name: string) => observations.of(name), guardOf };
}

async function all(events: AsyncIterable<CompletionEvent>): Promise<CompletionEvent[]> {
  const list: CompletionEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

describe('first to commit', () => {
  it('passes on the answer of the first target, stamped with ids, provider, cost and attempts', async () => {
    const target = targetOf(scripted('one', answer('hi')), { priceOf: () => ({ input: 1, output: 2 }) });
    const completion = await collect(run([target]).events);
    expect(completion).toMatchObject({ provider: 'one', model: 'answering-model', requestId: 'call-1' });
    expect(completion.id).toMatch(/^chatcmpl-[0-9a-f]{32}$/);
    expect(completion.cost?.totalUsd).toBeCloseTo(5e-6, 12);
    expect(completion.attempts).toMatchObject([{ provider: 'one', outcome: AttemptOutcome.SUCCEEDED, reason: '' }]);
  });

  // It looked like "part 1 opened where part 0 was due": encrypted reasoning has no text, and its empty delta was dropped.
  it('keeps the empty delta that opens a part before the commit, once', async () => {
    const opening = [started('m'), reasoningDelta(0, 0, ''), reasoningDelta(0, 0, ''), textDelta(0, 1, 'hi')];
    const steps = [...opening, choiceFinished(0, FinishReason.STOP), finished(undefined)];
    const events = await all(run([targetOf(scripted('one', steps))]).events);
    expect(events.map(({ event }) => event.case)).toEqual([
      'started',
      'reasoningDelta',
      'textDelta',
      'choiceFinished',
      'finished',
    ]);
  });

  for (const reason of [
    'provider_unavailable',
    'provider_rate_limited',
    'provider_quota',
    'provider_misconfigured',
    'provider_protocol',
    'provider_timeout',
  ] as const) {
    it(`asks the next target after ${reason}, leaving no trace of the first in the answer`, async () => {
      const first = scripted('one', [
        started('m'),
        extra('openai', '{"a":1}'),
        usage(consumed),
        textDelta(0, 0, ''),
        failure(reason),
      ]);
      const completion = await collect(run([targetOf(first), targetOf(scripted('two', answer('hi')))]).events);
      expect(completion.provider).toBe('two');
      expect(completion.extraJson).toEqual({});
      expect(completion.attempts.map((attempt) => [attempt.provider, attempt.reason])).toEqual([
        ['one', reason],
        ['two', ''],
      ]);
      expect(first.closed).toBe(1);
    });
  }

  for (const reason of ['provider_rejected', 'invalid_request', 'model_not_found', 'internal'] as const) {
    it(`is final at ${reason}`, async () => {
      const second = scripted('two', answer('hi'));
      const { events } = run([targetOf(scripted('one', [failure(reason)])), targetOf(second)]);
      await expect(all(events)).rejects.toMatchObject({ reason });
      expect(second.asked).toBe(0);
    });
  }

  // At /completion the whole call may take 30 s, and so may a first token: a provider that hung was never left.
  it('leaves a silent target in time to ask another, and blames it only where it had time enough', async () => {
    const limits = { unaryMs: 60_000, firstTokenMs: 30_000, idleMs: 30_000, slowFirstTokenMs: 20, slowUnaryMs: 20 };
    for (const [leftMs, reason] of [
      [80, 'provider_timeout'],
      [30, undefined],
    ] as const) {
      const targets = [targetOf(scripted('one', ['hang']), { limits }), targetOf(scripted('two', answer('hi')))];
      const context = contextOf({ deadline: performance.now() + leftMs });
      const { events, recordOf, guardOf } = run(targets, context);
      const completion = await collect(events);
      expect([completion.provider, completion.attempts[0]?.reason]).toEqual(['two', 'provider_timeout']);
      expect(recordOf('one').lastErrorReason).toBe(reason);
      const [first] = targets;
      expect(first && guardOf(first).breaker.snapshot().totals.calls).toBe(reason ? 1 : 0);
    }
  });

  it('never asks a second target after the commit', async () => {
    const second = scripted('two', answer('hi'));
    const first = scripted('one', [started('m'), textDelta(0, 0, 'half'), failure('provider_unavailable')]);
    const { events } = run([targetOf(first), targetOf(second)]);
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { event } of events) seen.push(event.case ?? '');
    })();
    await expect(reading).rejects.toMatchObject({ reason: 'provider_unavailable' });
    expect(seen).toEqual(['started', 'textDelta']);
    expect(second.asked).toBe(0);
  });

  it('fails with the first cause and every attempt when all fail', async () => {
    const { events, recordOf } = run([
      targetOf(scripted('one', [failure('provider_rate_limited')])),
      targetOf(scripted('two', [failure('provider_unavailable')])),
    ]);
    const error = await all(events).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ reason: 'provider_rate_limited' });
    expect((error as GatewayError).attempts.map(({ reason }) => reason)).toEqual([
      'provider_rate_limited',
      'provider_unavailable',
    ]);
    expect(recordOf('two').lastErrorReason).toBe('provider_unavailable');
  });

  it('tells the soonest hope when all are limited', async () => {
    const limited = (retryAfterMs: number) => new GatewayError('provider_rate_limited', 'limited', { retryAfterMs });
    const { events } = run([targetOf(scripted('one', [limited(7000)])), targetOf(scripted('two', [limited(5000)]))]);
    await expect(all(events)).rejects.toMatchObject({ reason: 'provider_rate_limited', retryAfterMs: 5000 });
  });

  it('charges for the model that answered', async () => {
    const prices: Record<string, Price> = { asked: { input: 1, output: 1 }, answered: { input: 2, output: 2 } };
    const priceOf = (model: string) => prices[model];
    const rest = answer('hi').slice(1);
    const costs: unknown[] = [];
    for (const named of ['answered', '']) {
      const steps = [started(named), ...rest];
      const { events: told } = run([targetOf(scripted('one', steps), { model: 'asked', priceOf })]);
      const last = (await all(told)).at(-1)?.event;
      costs.push(last?.case === 'finished' && last.value.cost?.totalUsd);
    }
    expect(costs[0]).toBeGreaterThan(0);
    expect(costs[0]).toBe(2 * Number(costs[1]));
  });

  it("takes a 404 for a model that only the caller names for the caller's mistake, and for ours otherwise", async () => {
    const missing = new GatewayError('provider_misconfigured', 'no such model', { providerStatus: 404 });
    for (const [listed, reason, failures] of [
      [false, 'model_not_found', 0],
      [true, 'provider_misconfigured', 1],
    ] as const) {
      const target = targetOf(scripted('one', [missing]), { listed });
      const { events, guardOf, recordOf } = run([target]);
      await expect(all(events)).rejects.toMatchObject({ reason, attempts: [{ reason }] });
      // It looked like a 503: made-up names opened a breaker, and made a provider look ill that had only said what it has.
      expect(guardOf(target).breaker.snapshot().totals.failures).toBe(failures);
      expect(recordOf('one').errorRate).toBe(failures);
    }
  });

  it('takes an answer without an end for truncated', async () => {
    const { events } = run([targetOf(scripted('one', [started('m'), textDelta(0, 0, 'half')]))]);
    await expect(all(events)).rejects.toMatchObject({ reason: 'provider_protocol' });
  });

  it('asks only targets with a larger or unknown window after context_length', async () => {
    const small = scripted('small', answer('small'));
    const unknown = scripted('unknown', answer('unknown'));
    const targets = [
      targetOf(scripted('one', [failure('context_length')]), { contextWindow: 8000 }),
      targetOf(small, { contextWindow: 4000 }),
      targetOf(unknown),
    ];
    expect((await collect(run(targets).events)).provider).toBe('unknown');
    expect(small.asked).toBe(0);
  });

  it("ends with the context's reason when the caller leaves, asks nobody else and blames nobody", async () => {
    const controller = new AbortController();
    const second = scripted('two', answer('hi'));
    const first = scripted('one', [started('m'), 'hang']);
    const { events, recordOf } = run([targetOf(first), targetOf(second)], contextOf({ signal: controller.signal }));
    const reading = all(events);
    await vi.waitFor(() => expect(first.asked).toBe(1));
    controller.abort(new GatewayError('cancelled', 'the caller left'));
    await expect(reading).rejects.toMatchObject({ reason: 'cancelled' });
    expect([second.asked, first.closed]).toEqual([0, 1]);
    expect(recordOf('one')).toMatchObject({ active: 0, lastError: undefined, lastSuccess: undefined });
  });

  it('closes the provider when the reader stops reading', async () => {
    const first = scripted('one', answer('hi'));
    const { events, recordOf } = run([targetOf(first)]);
    for await (const _ of events) break;
    expect(first.closed).toBe(1);
    expect(recordOf('one').active).toBe(0);
  });

  describe('with a hedge', () => {
    const hedged = { hedgeAfterMs: 5 };

    it('asks the next target beside a silent one, and closes the slower', async () => {
      const slow = scripted('one', [started('m'), 'hang']);
      const targets = [targetOf(slow), targetOf(scripted('two', answer('hi')))];
      const { events, recordOf, guardOf } = run(targets, contextOf(), hedged);
      const completion = await collect(events);
      expect(completion.attempts.map(({ provider, outcome }) => [provider, outcome])).toEqual([
        ['one', AttemptOutcome.CANCELLED],
        ['two', AttemptOutcome.SUCCEEDED],
      ]);
      await expect.poll(() => slow.closed).toBe(1);
      expect(recordOf('one')).toMatchObject({ active: 0, lastError: undefined });
      // It is the first one's budget that a hedge takes from: three without any traffic to speak of.
      const budget = guardOf(targets[0] as Target).budget;
      expect([budget.spend(), budget.spend(), budget.spend()]).toEqual([true, true, false]);
    });

    it('asks nobody else once the budget is spent, and then fails over as without one', async () => {
      const slow = scripted('one', [started('m'), 'hang']);
      const second = scripted('two', answer('hi'));
      const limits = { unaryMs: 200, firstTokenMs: 200, idleMs: 200, slowFirstTokenMs: 100, slowUnaryMs: 100 };
      const targets = [targetOf(slow, { limits }), targetOf(second)];
      const { events, guardOf } = run(targets, contextOf(), hedged);
      const { budget } = guardOf(targets[0] as Target);
      while (budget.spend());
      const began = performance.now();
      expect((await collect(events)).provider).toBe('two');
      expect(performance.now() - began).toBeGreaterThan(190);
    });

    it('asks nobody beside a target whose answer is on its way but held back', async () => {
      const second = scripted('two', answer('hi'));
      const first = scripted('one', [started('m'), textDelta(0, 0, 'half'), 'hang']);
      const limits = { unaryMs: 100, firstTokenMs: 100, idleMs: 100, slowFirstTokenMs: 50, slowUnaryMs: 50 };
      const targets = [targetOf(first, { limits }), targetOf(second)];
      const { events } = run(targets, contextOf(), { ...hedged, buffered: true });
      const completion = await collect(events);
      expect(completion.attempts.map(({ outcome, reason }) => [outcome, reason])).toEqual([
        [AttemptOutcome.FAILED, 'provider_timeout'],
        [AttemptOutcome.SUCCEEDED, ''],
      ]);
      expect(completion.choices[0]?.message?.parts[0]?.kind.value).toBe('hi');
    });

    it('passes over targets that cannot be asked', async () => {
      const closed = scripted('two', answer('no'));
      const targets = [
        targetOf(scripted('one', ['hang'])),
        targetOf(closed),
        targetOf(scripted('three', answer('hi'))),
      ];
      const { events, guardOf } = run(targets, contextOf(), hedged);
      guardOf(targets[1] as Target).breaker.setHold('open');
      expect((await collect(events)).provider).toBe('three');
      expect(closed.asked).toBe(0);
    });
  });
});
