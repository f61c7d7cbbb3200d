import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  AttemptOutcome,
  type CompletionEvent,
  type CompletionRequest,
  CompletionRequestSchema,
  FinishReason,
  Role,
  UsageSchema,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import type { AnswerStore } from '../../src/cache/answer-store.ts';
import { type CacheUse, cached } from '../../src/cache/cache.ts';
import { MemoryCache } from '../../src/cache/memory-cache.ts';
import { SingleFlight } from '../../src/cache/single-flight.ts';
import { type CallContext, choiceFinished, finished, started, textDelta, usage } from '../../src/completion.ts';
import { Room } from '../../src/room.ts';
import { CacheCounts } from '../../src/telemetry/cache-counts.ts';
import { durationOf, timestampOf } from '../../src/time.ts';
import { contextOf } from '../attempt/fake-provider.ts';

/** What a provider used for the answer that these tests work with. */
export const used = create(UsageSchema, { promptTokens: 5, completionTokens: 2, totalTokens: 7 });

/** A request that the cache may answer. */
export function question(fields: MessageInitShape<typeof CompletionRequestSchema> = {}): CompletionRequest {
  return create(CompletionRequestSchema, {
    model: 'fast',
    messages: [{ role: Role.USER, parts: [{ kind: { case: 'text', value: 'hi' } }] }],
    ...fields,
  });
}

/** The events of an answer of these words, as the loop over targets gives them. */
export function answering(
  words: readonly string[],
  reason: FinishReason = FinishReason.STOP,
  requestId = 'call-1',
): CompletionEvent[] {
  const attempt = {
    $typeName: 'llmgateway.v1.Attempt' as const,
    provider: 'groq',
    model: 'llama',
    outcome: AttemptOutcome.SUCCEEDED,
    reason: '',
    providerRequestId: 'p-1',
  };
  const cost = { $typeName: 'llmgateway.v1.Cost' as const, promptUsd: 1, completionUsd: 2, totalUsd: 3 };
  const createdAt = timestampOf(1_700_000_000_000);
  return [
    started('llama-0815', { id: 'chatcmpl-first', requestId, provider: 'groq', createdAt }),
    ...words.map((word) => textDelta(0, 0, word)),
    usage(used),
    choiceFinished(0, reason, 'stop'),
    finished(used, { cost, attempts: [attempt], duration: durationOf(1234) }),
  ];
}

/** The cache over an upstream that answers as told, with everything at hand that tells what it did. */
export function cacheOver(
  answer: (request: CompletionRequest, context: CallContext) => AsyncIterable<CompletionEvent>,
  more: {
    store?: AnswerStore;
    use?: Partial<CacheUse> | 'off';
    mayStore?: () => boolean;
    later?: boolean;
    roomBytes?: number;
  } = {},
) {
  let now = 0;
  let ids = 0;
  const counts = new CacheCounts();
  const store = more.store ?? new MemoryCache({ maxBytes: 10_000_000, now: () => now });
  const flights = new SingleFlight<CompletionEvent>({
    isLast: ({ event }) => event.case === 'finished',
    sizeOf: () => 100,
  });
  const room = new Room(more.roomBytes ?? 1e9);
  const targets = [{ provider: { name: 'groq' }, model: 'llama' }];
  const use = more.use === 'off' ? undefined : { ttlMs: 60_000, shared: false, targets, choice: '', ...more.use };
  const asked: CompletionRequest[] = [];
  const layer = cached({
    useFor: () => (more.later ? Promise.resolve(use) : use),
    store,
    flights,
    sizeOf: () => 100,
    room,
    mayStore: more.mayStore ?? (() => true),
    counts,
    newId: () => `chatcmpl-new-${++ids}`,
  });
  const complete = layer((request, context) => {
    asked.push(request);
    return answer(request, context);
  });
  return {
    counts,
    store,
    flights,
    room,
    /** The requests that went upstream. */
    asked,
    pass(ms: number) {
      now += ms;
    },
    /** Call, and tell what came and what the call's account says. */
    async call(request = question(), context: Partial<CallContext> = {}) {
      const own = contextOf({ requestId: 'call-2', account: { tries: 0 }, ...context });
      const events: CompletionEvent[] = [];
      for await (const event of complete(request, own)) events.push(event);
      return { events, account: own.account };
    },
    complete,
  };
}

/** An upstream that gives these events to every call. */
export function giving(events: () => readonly (CompletionEvent | Error)[]) {
  return async function* () {
    for (const event of events()) {
      if (event instanceof Error) throw event;
      yield structuredClone(event);
    }
  };
}
