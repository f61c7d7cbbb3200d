import type { Timestamp } from '@bufbuild/protobuf/wkt';
import type {
  Attempt,
  CompletionEvent,
  CompletionRequest,
  Cost,
  Usage,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { commits } from '../completion.ts';
import type { Provider, ProviderCall } from '../providers/provider.ts';
import { durationOf } from '../time.ts';

/** What the gateway writes into the first event of an answer. */
export interface Beginning {
  readonly id: string;
  readonly requestId: string;
  readonly provider: string;
  /** The model asked of the provider; the one that it names goes before. */
  readonly model: string;
  readonly createdAt: Timestamp;
}

/** What the gateway writes into the last event of an answer. */
export interface End {
  readonly cost: Cost | undefined;
  readonly attempts: readonly Attempt[];
  readonly durationMs: number;
}

/** What differs between completions and embeddings to the loops that carry them out. */
export interface Operation<Request, Event> {
  /** What ids of its answers begin with. */
  readonly idPrefix: string;
  ask(provider: Provider, request: Request, call: ProviderCall): AsyncIterable<Event>;
  /** Whether the event binds the call to its target. */
  commits(event: Event): boolean;
  /** Whether the event says nothing beside those before it, and may be dropped while no target is bound. */
  isEmpty(event: Event, before: readonly Event[]): boolean;
  /** About how many characters or bytes it brings. */
  sizeOf(event: Event): number;
  /** How many characters of the answer it brings. */
  charactersOf(event: Event): number;
  isFirst(event: Event): boolean;
  isLast(event: Event): boolean;
  /** What has been consumed so far, if the event says. */
  usageOf(event: Event): Usage | undefined;
  /** Write into the first event; tells the model that answers. */
  begin(event: Event, beginning: Beginning): string;
  end(event: Event, end: End): void;
}

export const completions: Operation<CompletionRequest, CompletionEvent> = {
  idPrefix: 'chatcmpl-',
  ask: (provider, request, call) => provider.complete(request, call),
  commits,
  isEmpty,
  sizeOf,
  charactersOf,
  isFirst: ({ event }) => event.case === 'started',
  isLast: ({ event }) => event.case === 'finished',
  usageOf: ({ event }) =>
    event.case === 'usage' ? event.value : event.case === 'finished' ? event.value.usage : undefined,
  begin({ event }, { model, ...beginning }) {
    if (event.case !== 'started') return model;
    Object.assign(event.value, beginning, { model: event.value.model || model });
    return event.value.model;
  },
  end({ event }, { cost, attempts, durationMs }) {
    if (event.case !== 'finished') return;
    event.value.attempts = [...attempts];
    if (cost) event.value.cost = cost;
    event.value.duration = durationOf(durationMs);
  },
};

/** Before the commit texts are empty. The first one of a part opens it all the same: dropped, it would leave a gap. */
function isEmpty({ event }: CompletionEvent, before: readonly CompletionEvent[]): boolean {
  if (event.case !== 'textDelta' && event.case !== 'reasoningDelta' && event.case !== 'refusalDelta') return false;
  const { choiceIndex, partIndex } = event.value;
  return before.some(
    ({ event: { case: kind, value } }) =>
      kind === event.case && value.choiceIndex === choiceIndex && value.partIndex === partIndex,
  );
}

/** What an event weighs that brings no content. */
const FRAME_SIZE = 100;

function charactersOf({ event }: CompletionEvent): number {
  switch (event.case) {
    case 'textDelta':
    case 'reasoningDelta':
    case 'refusalDelta':
      return event.value.text.length;
    case 'toolCallDelta':
      return event.value.arguments.length;
    default:
      return 0;
  }
}

function sizeOf(completionEvent: CompletionEvent): number {
  const { event } = completionEvent;
  switch (event.case) {
    case 'extra':
      return FRAME_SIZE + event.value.json.length;
    case 'mediaDelta': {
      const source = event.value.media.value?.source;
      return FRAME_SIZE + (source?.case === 'data' ? source.value.byteLength : 0);
    }
    default:
      return FRAME_SIZE + charactersOf(completionEvent);
  }
}

export const embeddings: Operation<EmbeddingRequest, EmbeddingResult> = {
  idPrefix: 'embd-',
  ask: (provider, request, call) => provider.embed(request, call),
  commits: () => true,
  isEmpty: () => false,
  sizeOf: () => 0,
  charactersOf: () => 0,
  isFirst: () => true,
  isLast: () => true,
  usageOf: (result) => result.usage,
  begin(result, { model, ...beginning }) {
    Object.assign(result, beginning, { model: result.model || model });
    return result.model;
  },
  end(result, { cost, attempts, durationMs }) {
    result.attempts = [...attempts];
    if (cost) result.cost = cost;
    result.duration = durationOf(durationMs);
  },
};
