import { describe, expect, it } from 'vitest';
import { FinishReason, type Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { firstToCommit } from '../../src/attempt/first-to-commit.ts';
import { completions } from '../../src/attempt/operation.ts';
import {
  type Account,
  choiceFinished,
  finished,
  reasoningDelta,
  started,
  textDelta,
  toolCallDelta,
  usage,
} from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import type { Target } from '../../src/providers/target.ts';
import { Room } from '../../src/room.ts';
import { contextOf, guardsFor, requestOf, type Step, scripted, targetOf } from './fake-provider.ts';

const consumed: Usage = {
  $typeName: 'llmgateway.v1.Usage',
  promptTokens: 1000,
  completionTokens: 10,
  totalTokens: 1010,
  estimated: false,
};
const priced = { priceOf: () => ({ input: 1, output: 100 }) };
const costs = (totalUsd: number) => expect.objectContaining({ totalUsd });

/** What is noted of a call whose reader takes so many events. */
async function noted(targets: readonly Target[], reads = Number.POSITIVE_INFINITY): Promise<Account> {
  const context = contextOf();
  const guards = guardsFor();
  const complete = firstToCommit(completions, {
    planFor: () => ({
      targets,
      attemptsPerTarget: 1,
      attempts: 10,
      baseDelayMs: 1,
      maxDelayMs: 10,
      waitWhenLimited: false,
      hedgeAfterMs: undefined,
      buffered: false,
    }),
    guardOf: ({ provider, model }) => guards.of(provider.name, model),
    held: new Room(1e9),
    random: () => 0.5,
  });
  let read = 0;
  try {
    for await (const _ of complete(requestOf(), context)) if (++read >= reads) break;
  } catch {
    // the account tells as far as it got
  }
  return context.account;
}

const beginning: Step[] = [
  started('m'),
  textDelta(0, 0, 'twelve chars'),
  reasoningDelta(0, 1, 'hm'),
  toolCallDelta(0, 2, '{"a":1}', { id: 'c', name: 'f' }),
];
const end: Step[] = [choiceFinished(0, FinishReason.STOP), finished(consumed)];

describe('what is noted of an answer', () => {
  it('is what the whole of it has taken, and cost', async () => {
    const account = await noted([targetOf(scripted('a', [...beginning, ...end]), priced)]);
    expect(account.spent).toEqual({ usage: consumed, cost: costs(0.002) });
  });

  it('is how long it was when its reader left', async () => {
    const account = await noted([targetOf(scripted('a', [...beginning, ...end]), priced)], beginning.length);
    expect(account).toMatchObject({ characters: 12 + 2 + 7 });
    expect(account.spent).toBeUndefined();
    expect(account.costOf?.(consumed)).toEqual(costs(0.002));
  });

  it('is what was told before it was cut', async () => {
    const steps = [...beginning, usage(consumed), new GatewayError('provider_protocol', 'cut')];
    const account = await noted([targetOf(scripted('a', steps))]);
    expect(account).toMatchObject({ spent: { usage: consumed, cost: undefined }, characters: 21 });
    expect(account.costOf?.(consumed)).toBeUndefined();
  });

  it('is nothing of one that failed before its first content', async () => {
    const failing = scripted('a', [started('m'), new GatewayError('provider_unavailable', 'gone')]);
    expect(await noted([targetOf(failing)])).toEqual({ tries: 1 });
  });

  it('is that of the target that answered', async () => {
    const failing = scripted('a', [new GatewayError('provider_unavailable', 'gone')]);
    const account = await noted([targetOf(failing), targetOf(scripted('b', [...beginning, ...end]), priced)]);
    expect(account.spent).toEqual({ usage: consumed, cost: costs(0.002) });
  });
});
