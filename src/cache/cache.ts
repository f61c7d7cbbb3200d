import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  CacheMode,
  type Completion,
  type CompletionEvent,
  type CompletionRequest,
  type Cost,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { AtOnce } from '../at-once.ts';
import { type CallContext, finished, type Layer, started, type ToldEvents } from '../completion.ts';
import { Later } from '../later.ts';
import type { OpenedAnswer } from '../request-facts.ts';
import type { Room } from '../room.ts';
import type { CacheCounts } from '../telemetry/cache-counts.ts';
import { durationOf, millisecondsOf, timestampOf } from '../time.ts';
import type { AnswerStore, StoredAnswer } from './answer-store.ts';
import { type KeyTarget, keyFor } from './key.ts';
import { isKeepable, opened, packForOthers, Recording } from './recording.ts';
import type { SingleFlight } from './single-flight.ts';
import { Told } from './told.ts';

/** How answers of a route are cached. */
export interface CachePolicy {
  readonly ttlMs: number;
  /** Whether callers share their answers. */
  readonly shared: boolean;
}

/** How the cache is used for one call. */
export interface CacheUse extends CachePolicy {
  /** Where the call may go. */
  readonly targets: readonly KeyTarget[];
  /** How one of them is chosen: who was told to be asked first, must not be answered by another one. */
  readonly choice: string;
}

/** What the cache is made of. */
export interface CacheOptions {
  /** Undefined: answers of this call's route are not cached. */
  readonly useFor: (
    request: CompletionRequest,
    context: CallContext,
  ) => CacheUse | undefined | Promise<CacheUse | undefined>;
  readonly store: AnswerStore;
  readonly flights: SingleFlight<CompletionEvent>;
  /** About how many bytes an event takes. */
  readonly sizeOf: (event: CompletionEvent) => number;
  /** What answers share while they are put together to be stored. */
  readonly room: Room;
  /** Whether there is memory for more answers. */
  readonly mayStore: () => boolean;
  readonly counts: CacheCounts;
  /** Makes the id of an answer. */
  readonly newId: () => string;
}

type Events = AsyncIterable<CompletionEvent, undefined>;

/**
 * Answer a call from what an equal one was answered, or is being answered now.
 *
 * - Equal is what has the same key. What an answer depends on beside the request is not cached unless the caller asks for it:
 *   sampling above temperature 0, and tools that the provider carries out.
 * - An answer is stored when it is whole; never a failure, nor one that was cut, refused or withheld.
 * - A hit has ids of its own, costs nothing and names no attempts. A stream and a whole answer are the same.
 * - A store that fails is as good as an empty one.
 */
export function cached(options: CacheOptions): Layer {
  const { useFor, counts } = options;
  return (next) => {
    const answer = (request: CompletionRequest, context: CallContext, use: CacheUse | undefined) => {
      if (use === undefined) return next(request, context);
      const wish = wishOf(request);
      if (wish === undefined) {
        counts.bypasses++;
        context.account.cache = { status: 'bypass' };
        return next(request, context);
      }
      const scope = use.shared ? '' : `caller ${context.principal.name}`;
      const key = keyFor(request, scope, use.targets, use.choice, context.facts);
      const call = new CachedCall(options, request, context, use, key, (own) => next(request, own));
      return wish.read ? call.read(wish.maxAgeMs) : call.refresh();
    };
    return (request, context) => {
      const use = useFor(request, context);
      if (!(use instanceof Promise)) return answer(request, context, use);
      return new Later(use.then((known) => answer(request, context, known) as Events));
    };
  };
}

/** What a call wants of the cache; undefined: nothing. */
function wishOf({ options, temperature = 0, tools }: CompletionRequest): Wish | undefined {
  const mode = options?.cacheMode ?? CacheMode.UNSPECIFIED;
  if (mode === CacheMode.BYPASS) return undefined;
  const maxAgeMs = options?.cacheMaxAge && durationMs(options.cacheMaxAge);
  const isAsked = mode !== CacheMode.UNSPECIFIED || maxAgeMs !== undefined;
  if (!isAsked && (temperature > 0 || tools.some(({ kind }) => kind.case === 'provider'))) return undefined;
  return { read: mode !== CacheMode.REFRESH, maxAgeMs: maxAgeMs ?? Number.POSITIVE_INFINITY };
}

interface Wish {
  readonly read: boolean;
  /** The oldest answer that will do. */
  readonly maxAgeMs: number;
}

/** One call whose answer may be in the cache, or go there. */
class CachedCall {
  readonly #options: CacheOptions;
  readonly #request: CompletionRequest;
  readonly #context: CallContext;
  readonly #use: CacheUse;
  readonly #key: string;
  readonly #ask: (context: CallContext) => AsyncIterable<CompletionEvent>;
  readonly #began = performance.now();

  constructor(
    options: CacheOptions,
    request: CompletionRequest,
    context: CallContext,
    use: CacheUse,
    key: string,
    ask: (context: CallContext) => AsyncIterable<CompletionEvent>,
  ) {
    this.#options = options;
    this.#request = request;
    this.#context = context;
    this.#use = use;
    this.#key = key;
    this.#ask = ask;
  }

  /** The name of its flight. Who was promised a whole answer must not share one that may be cut in the middle. */
  get #flight(): string {
    return `${this.#key} ${this.#request.options?.guarantee ?? 0}`;
  }

  /** Answer from the cache if it has an answer young enough. */
  read(maxAgeMs: number): Events {
    const shared = this.#share();
    if (shared) return shared;
    const { store, counts } = this.#options;
    const found = store.get(this.#key);
    if (!(found instanceof Promise)) return this.#hit(found, maxAgeMs) ?? this.#miss();
    const known = found.catch(() => {
      counts.storeFailures++;
      return undefined;
    });
    return new Later(known.then((answer) => this.#hit(answer, maxAgeMs) ?? this.#share() ?? this.#miss()));
  }

  /** Have the call carried out, and store its answer. */
  refresh(): Events {
    this.#options.counts.bypasses++;
    return this.#depart('bypass');
  }

  #hit(found: StoredAnswer | undefined, maxAgeMs: number): Events | undefined {
    if (found === undefined || found.ageMs > maxAgeMs) return undefined;
    const { account, signal, notes, facts } = this.#context;
    const answer = opened(found.bytes, facts);
    if (answer === undefined) return undefined;
    const { completion } = answer;
    const tookMs = performance.now() - this.#began;
    this.#options.counts.hits++;
    notes?.askedCache('hit', this.#began);
    if (notes) {
      notes.savedUsd = completion.cost?.totalUsd;
      if (completion.duration) notes.savedMs = millisecondsOf(completion.duration) - tookMs;
    }
    account.cache = { status: 'hit', ageMs: found.ageMs, key: this.#key };
    account.free = true;
    const events = this.#own(answer, tookMs);
    if (this.#context.streaming) return new Told(events.values(), signal);
    signal.throwIfAborted();
    return new AtOnce(events);
  }

  /** A stored answer as this call's. Who reads events as they come has no use for the completion. */
  #own(stored: OpenedAnswer, tookMs: number): ToldEvents {
    const { requestId, streaming } = this.#context;
    const { provider, model, droppedFields, usage } = stored.completion;
    const id = this.#options.newId();
    const createdAt = timestampOf(Date.now());
    const cost = noCost();
    const duration = durationOf(tookMs);
    const events: CompletionEvent[] & { completion?: Completion } = stored.events.slice();
    events[0] = started(model, { id, requestId, createdAt, provider, droppedFields, cached: true });
    events[events.length - 1] = finished(usage, { cost, duration });
    if (!streaming)
      events.completion = { ...stored.completion, id, requestId, createdAt, cached: true, cost, duration };
    return events;
  }

  #share(): Events | undefined {
    const { flights, counts } = this.#options;
    if (flights.count === 0) return undefined;
    const reader = flights.join(this.#flight, {
      context: this.#context,
      tell: (event, pays) => this.#tell(event, pays),
    });
    if (reader === undefined) return undefined;
    counts.hits++;
    counts.shared++;
    this.#context.notes?.askedCache('shared', this.#began);
    this.#context.account.cache = { status: 'hit', ageMs: 0, key: this.#key };
    return reader;
  }

  /** What a call that shares another's answer is told of it. */
  #tell(event: CompletionEvent, pays: boolean): CompletionEvent {
    const { case: kind, value } = event.event;
    if (kind === 'started') {
      const { requestId } = this.#context;
      return started(value.model, { ...value, id: this.#options.newId(), requestId, cached: !pays });
    }
    if (kind === 'finished' && !pays) {
      const { notes } = this.#context;
      if (notes) notes.savedUsd = value.cost?.totalUsd;
      return finished(value.usage, { cost: noCost(), duration: durationOf(performance.now() - this.#began) });
    }
    return event;
  }

  #miss(): Events {
    this.#options.counts.misses++;
    this.#context.notes?.askedCache('miss', this.#began);
    return this.#depart('miss');
  }

  #depart(status: 'miss' | 'bypass'): Events {
    const { flights, sizeOf, room, mayStore } = this.#options;
    this.#context.account.cache = { status, key: this.#key };
    const recording = mayStore() ? new Recording(sizeOf, room) : undefined;
    const boarding = { context: this.#context, tell: (event: CompletionEvent) => event };
    return flights.begin(this.#flight, boarding, {
      begin: (own) => {
        own.ends.push(() => recording?.end());
        return this.#ask(own);
      },
      see: (event) => {
        const whole = recording?.add(event);
        return whole && this.#store(whole);
      },
    });
  }

  #store(completion: Completion): Promise<unknown> | undefined {
    if (!isKeepable(completion)) return undefined;
    const { store, counts } = this.#options;
    const stored = store.set(this.#key, packForOthers(completion), this.#use.ttlMs, this.#tags(completion));
    if (stored === undefined) {
      counts.stored++;
      return undefined;
    }
    return stored.then(
      () => counts.stored++,
      () => counts.storeFailures++,
    );
  }

  /** What the answer can be found by to be forgotten: the names of its model, and who asked. */
  #tags({ provider, model, attempts }: Completion): string[] {
    const asked = attempts.at(-1)?.model ?? model;
    const names = [this.#request.model, asked, model, `${provider}/${asked}`, `${provider}/${model}`];
    return [...new Set(names.filter(Boolean).map(modelTag)), callerTag(this.#context.principal.name)];
  }
}

/** The tag of answers of a model. */
export function modelTag(model: string): string {
  return `model ${model}`;
}

/** The tag of answers that a caller got first. */
export function callerTag(name: string): string {
  return `caller ${name}`;
}

function noCost(): Cost {
  return { $typeName: 'llmgateway.v1.Cost', promptUsd: 0, completionUsd: 0, totalUsd: 0 };
}
