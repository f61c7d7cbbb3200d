import { describe, expect, it } from 'vitest';
import {
  type Attempt,
  AttemptOutcome,
  type CompletionEvent,
  FinishReason,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { completions } from '../../src/attempt/operation.ts';
import { Seat } from '../../src/attempt/target-guard.ts';
import { Trial } from '../../src/attempt/trial.ts';
import { choiceFinished, extra, finished, reasoningDelta, started, textDelta, usage } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import { Room } from '../../src/room.ts';
import { Observations } from '../../src/routing/observations.ts';
import { Stop } from '../../src/stop.ts';
import { contextOf, guardsFor, requestOf, type Step, scripted, targetOf } from './fake-provider.ts';

const counted = {
  $typeName: 'llmgateway.v1.Usage' as const,
  promptTokens: 3,
  completionTokens: 1,
  totalTokens: 4,
  estimated: false,
};
const cut = new GatewayError('provider_unavailable', 'cut');
const ending = [choiceFinished(0, FinishReason.STOP), finished(counted)];

/** A signal that tells how many listen to it. */
class CountedStop extends Stop {
  listeners = 0;
  override addEventListener(...args: Parameters<Stop['addEventListener']>): void {
    this.listeners++;
    super.addEventListener(...args);
  }
  override removeEventListener(...args: Parameters<Stop['removeEventListener']>): void {
    this.listeners--;
    super.removeEventListener(...args);
  }
}

function begin(steps: readonly Step[], { buffered = false, cancellable = false, room = new Room(1e9) } = {}) {
  const provider = scripted('one', steps);
  const target = targetOf(provider);
  const observations = new Observations();
  const guard = guardsFor(observations).of('one', target.model);
  const seat = guard.enter(true, target.limits);
  if (!(seat instanceof Seat)) throw new Error(seat.words);
  const log = { outcome: AttemptOutcome.UNSPECIFIED, reason: '' } as Attempt;
  const signal = new CountedStop();
  const context = contextOf({ signal });
  const capMs = Number.POSITIVE_INFINITY;
  const options = { operation: completions, request: requestOf(), context, buffered, room, cancellable, capMs };
  const trial = new Trial(options, target, seat, log);
  return {
    trial,
    log,
    provider,
    signal,
    guard,
    kinds: () => trial.held.map(({ event }) => event.case),
    active: () => observations.of('one').active,
    async rest() {
      const events: CompletionEvent[] = [];
      for await (const event of trial.rest ?? []) events.push(event);
      return events;
    },
  };
}

describe('a trial', () => {
  it('holds back what comes up to the first content, but for what says nothing', async () => {
    const { trial, kinds, rest } = begin([
      started('m'),
      usage(counted),
      reasoningDelta(0, 0, ''),
      reasoningDelta(0, 0, ''),
      extra('openai', '{"a":1}'),
      textDelta(0, 1, 'hi'),
      textDelta(0, 1, ' there'),
      ...ending,
    ]);
    await trial.commit();
    expect(kinds()).toEqual(['started', 'usage', 'reasoningDelta', 'extra', 'textDelta']);
    expect((await rest()).map(({ event }) => event.case)).toEqual(['textDelta', 'choiceFinished', 'finished']);
  });

  it('throws what the attempt throws before its commit', async () => {
    const { trial, log, provider, active } = begin([started('m'), cut]);
    await expect(trial.commit()).rejects.toBe(cut);
    expect(log).toMatchObject({ outcome: AttemptOutcome.FAILED, reason: 'provider_unavailable' });
    expect([provider.closed, active()]).toEqual([1, 0]);
  });

  it('that is ended after its commit closes its provider and gives its seat back', async () => {
    const { trial, log, provider, active } = begin([textDelta(0, 0, 'hi'), 'hang']);
    await trial.commit();
    await trial.end();
    expect([provider.closed, active(), log.outcome]).toEqual([1, 0, AttemptOutcome.CANCELLED]);
  });

  describe('that holds its answer back', () => {
    it('commits with the last event, and has every event then', async () => {
      const { trial, kinds, rest, log } = begin([started('m'), textDelta(0, 0, 'a'), textDelta(0, 0, 'b'), ...ending], {
        buffered: true,
      });
      await trial.commit();
      expect(kinds()).toEqual(['started', 'textDelta', 'textDelta', 'choiceFinished', 'finished']);
      expect(await rest()).toEqual([]);
      expect(log.outcome).toBe(AttemptOutcome.SUCCEEDED);
    });

    it('fails where its stream is cut in the middle', async () => {
      const { trial } = begin([started('m'), textDelta(0, 0, 'a'), cut], { buffered: true });
      await expect(trial.commit()).rejects.toBe(cut);
    });

    it('tells when its first content is here', async () => {
      const { trial } = begin([started('m'), textDelta(0, 0, 'a'), 'hang'], { buffered: true, cancellable: true });
      const committing = trial.commit().catch(() => {});
      expect(trial.hasSpoken).toBe(false);
      await expect.poll(() => trial.hasSpoken).toBe(true);
      trial.cancel();
      await committing;
    });

    it('fails where the answer is too large to be held, closes its provider and says so in its log', async () => {
      const megabyte = textDelta(0, 0, 'x'.repeat(1024 * 1024));
      const steps = [started('m'), ...Array.from<Step>({ length: 20 }).fill(megabyte), ...ending];
      const { trial, provider, log, active } = begin(steps, { buffered: true });
      await expect(trial.commit()).rejects.toMatchObject({
        reason: 'provider_protocol',
        message: 'the answer of one is larger than 16777216 and cannot be held back',
      });
      expect([provider.closed, active()]).toEqual([1, 0]);
      expect(log).toMatchObject({ outcome: AttemptOutcome.FAILED, reason: 'provider_protocol' });
    });
  });

  describe('for which there is no memory', () => {
    const steps = [started('m'), textDelta(0, 0, 'x'.repeat(1000)), textDelta(0, 0, 'y'.repeat(1000)), ...ending];

    it('ends, and blames nobody but the gateway', async () => {
      const room = new Room(1500);
      const { trial, provider, log, guard, active } = begin(steps, { buffered: true, room });
      await expect(trial.commit()).rejects.toMatchObject({ reason: 'overloaded', retryAfterMs: 1000 });
      expect([provider.closed, active(), log.outcome, room.bytes]).toEqual([1, 0, AttemptOutcome.CANCELLED, 0]);
      expect(guard.breaker.snapshot().totals.calls).toBe(0);
    });

    it('is what others leave, until they are over', async () => {
      const room = new Room(3500);
      const first = begin(steps, { buffered: true, room });
      await first.trial.commit();
      expect(room.bytes).toBeGreaterThan(2000);
      await expect(begin(steps, { buffered: true, room }).trial.commit()).rejects.toMatchObject({
        reason: 'overloaded',
      });
      await first.trial.end();
      expect(room.bytes).toBe(0);
      await expect(begin(steps, { buffered: true, room }).trial.commit()).resolves.toBeUndefined();
      await expect(begin(steps, { room: new Room(0) }).trial.commit()).resolves.toBeUndefined();
    });
  });

  describe('that may be called off', () => {
    it('ends at once, blames nobody and leaves the call as it is', async () => {
      const { trial, provider, log, signal, guard, active } = begin(['hang'], { cancellable: true });
      const committing = trial.commit();
      await expect.poll(() => provider.asked).toBe(1);
      trial.cancel();
      await expect(committing).rejects.toMatchObject({ reason: 'cancelled' });
      expect([provider.closed, active(), log.outcome]).toEqual([1, 0, AttemptOutcome.CANCELLED]);
      expect(guard.breaker.snapshot().totals.calls).toBe(0);
      expect([signal.aborted, signal.listeners]).toEqual([false, 0]);
    });

    it('ends with the call, for the reason of the call', async () => {
      const { trial, signal, provider } = begin(['hang'], { cancellable: true });
      const committing = trial.commit();
      await expect.poll(() => provider.asked).toBe(1);
      signal.abort(new GatewayError('deadline_exceeded', 'too late'));
      await expect(committing).rejects.toMatchObject({ reason: 'deadline_exceeded' });
    });

    it.each([
      ['has failed', [started('m'), cut]],
      ['is over', [textDelta(0, 0, 'hi'), ...ending]],
      ['was left in the middle', [textDelta(0, 0, 'hi'), 'hang']],
    ] as [string, Step[]][])('leaves no listener behind once it %s', async (_, steps) => {
      const { trial, signal } = begin(steps, { cancellable: true });
      await trial.commit().catch(() => {});
      await trial.end();
      expect(signal.listeners).toBe(0);
    });
  });
});
