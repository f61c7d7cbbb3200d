import { describe, expect, it } from 'vitest';
import { AttemptOutcome, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { firstToCommit } from '../../src/attempt/first-to-commit.ts';
import { completions } from '../../src/attempt/operation.ts';
import { choiceFinished, finished, started, textDelta } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import type { Target } from '../../src/providers/target.ts';
import { Room } from '../../src/room.ts';
import { CallNotes } from '../../src/telemetry/call-notes.ts';
import { contextOf, guardsFor, requestOf, type Step, scripted, targetOf } from './fake-provider.ts';

const answer: Step[] = [
  started('m'),
  textDelta(0, 0, 'a'),
  textDelta(0, 0, 'b'),
  choiceFinished(0, FinishReason.STOP, 'stop'),
  finished(undefined),
];

/** Notes of a call at some targets, and the call itself. */
function noted(
  targets: readonly Target[],
  { streaming = true, hedgeAfterMs }: { streaming?: boolean; hedgeAfterMs?: number } = {},
) {
  const notes = new CallNotes(performance.now());
  const guards = guardsFor();
  const plan = {
    targets,
    attemptsPerTarget: 1,
    attempts: 10,
    baseDelayMs: 1,
    maxDelayMs: 10,
    waitWhenLimited: false,
    hedgeAfterMs,
    buffered: false,
  };
  const guardOf = ({ provider, model }: Target) => guards.of(provider.name, model);
  const complete = firstToCommit(completions, { planFor: () => plan, guardOf, held: new Room(1e9), random: () => 0.5 });
  return { notes, events: complete(requestOf(), contextOf({ notes, streaming })) };
}

async function drain(events: AsyncIterable<unknown>): Promise<void> {
  for await (const _event of events);
}

describe('notes of a call', () => {
  it('have each attempt, when it began, told its first content and ended', async () => {
    const failure = new GatewayError('provider_unavailable', 'down');
    const { notes, events } = noted([targetOf(scripted('one', [failure])), targetOf(scripted('two', answer))]);
    await drain(events);
    expect(notes.attempts.map(({ log, succeeded }) => [log.provider, log.reason, succeeded])).toEqual([
      ['one', 'provider_unavailable', false],
      ['two', '', true],
    ]);
    const [failed, answered] = notes.attempts;
    expect(failed?.firstContentAt).toBeUndefined();
    expect(answered?.firstContentAt).toBeGreaterThanOrEqual(answered?.beganAt ?? Number.NaN);
    expect(answered?.endedAt).toBeGreaterThanOrEqual(answered?.firstContentAt ?? Number.NaN);
    // To the second text and to the end of the choice. The last event comes with no chunk of its own: each stream told a gap of nothing.
    expect(answered?.gaps?.count).toBe(2);
  });

  it('have no time between contents of a whole answer', async () => {
    const { notes, events } = noted([targetOf(scripted('one', answer))], { streaming: false });
    await drain(events);
    expect(notes.attempts[0]?.gaps).toBeUndefined();
    expect(notes.attempts[0]?.firstContentAt).toBeDefined();
  });

  it('end an attempt whose caller leaves between two events', async () => {
    const { notes, events } = noted([targetOf(scripted('one', answer))]);
    for await (const event of events) if (event.event.case === 'textDelta') break;
    expect(notes.attempts[0]?.endedAt).toBeDefined();
    expect(notes.attempts[0]?.log.outcome).toBe(AttemptOutcome.CANCELLED);
  });

  it('tell the attempt that was made because another was slow', async () => {
    const targets = [targetOf(scripted('slow', ['hang'])), targetOf(scripted('quick', answer))];
    const { notes, events } = noted(targets, { hedgeAfterMs: 5 });
    await drain(events);
    expect(notes.attempts.map(({ log, hedged, succeeded }) => [log.provider, hedged, succeeded])).toEqual([
      ['slow', false, false],
      ['quick', true, true],
    ]);
  });
});
