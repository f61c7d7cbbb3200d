import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { AttemptTrace, CallTrace, RouteDecision, UpstreamTrace } from './call-trace.ts';
import { chunkSeconds } from './metrics.ts';
import { Histogram } from './series.ts';

/** Header names in lower case, and values. */
export type TraceHeaders = Readonly<Record<string, string>>;

const none: TraceHeaders = {};

/** Hears how one request to a provider goes, from whoever sends it. */
export interface UpstreamWatch {
  /** It is about to be sent; gives headers that shall go with it. */
  begin(method: string, path: string): TraceHeaders;
  /** A connection carries it, or carries it once more because the first one was dead. */
  sent(): void;
  /** The head of the answer is here. */
  answered(status: number): void;
  /** It is over. */
  ended(failure: unknown): void;
}

/** How the response cache took part in a call. `bypass`: it was not to be read. */
export type CacheResult = 'hit' | 'miss' | 'shared' | 'bypass';

/**
 * What is noted of one call while it goes, for its log line, the metrics and its trace.
 *
 * Times are those of `performance.now()`; stretches of time are in milliseconds. Whoever stands where something happens writes it
 * here, and nobody on the path reads it.
 */
export class CallNotes {
  /** When the request arrived. */
  readonly arrivedAt: number;
  /** To learn who calls. */
  authMs = 0;
  /** To read and understand the request. */
  readMs = 0;
  /** To get a place. */
  queueMs = 0;
  /** To find the targets and their order. */
  routeMs = 0;
  /** To ask the response cache. */
  cacheMs = 0;
  /** Undefined: the cache had no say. */
  cache: CacheResult | undefined;
  /** What an answer that cost nothing would have cost, in USD; undefined: unknown. */
  savedUsd: number | undefined;
  /** How much sooner a cached answer came than it did from its provider, in milliseconds; undefined: unknown. */
  savedMs: number | undefined;
  decision: RouteDecision | undefined;
  readonly attempts: AttemptNotes[] = [];
  /** Undefined: nobody traces this call. */
  readonly trace: CallTrace | undefined;
  #hedges: Set<Attempt> | undefined;
  #heir: CallNotes | undefined;

  constructor(arrivedAt: number, trace?: CallTrace) {
    this.arrivedAt = arrivedAt;
    this.trace = trace;
  }

  /** The targets are found and in order; `sinceAt` is when somebody began to look for them. */
  routed(decision: RouteDecision, sinceAt: number): void {
    const now = performance.now();
    this.decision = decision;
    this.routeMs += now - sinceAt;
    this.trace?.routed(decision, sinceAt, now);
  }

  /** The response cache was asked; `sinceAt` is when somebody began to ask it. */
  askedCache(result: CacheResult, sinceAt: number): void {
    const now = performance.now();
    this.cache = result;
    this.cacheMs += now - sinceAt;
    this.trace?.cached(result, sinceAt, now);
  }

  /** It was waited for, from `sinceAt` on, before the first attempt: later waits are part of trying again. */
  waited(sinceAt: number): void {
    if (this.#heir) this.#heir.waited(sinceAt);
    else if (this.attempts.length === 0) this.queueMs += performance.now() - sinceAt;
  }

  /** It is known who calls. */
  authenticated(): void {
    this.authMs = performance.now() - this.arrivedAt;
  }

  /** The request is read and understood: now the call begins. */
  understood(): void {
    this.readMs = performance.now() - this.arrivedAt - this.authMs;
  }

  /** An attempt that is about to begin is made because an earlier one is slow. */
  hedged(log: Attempt): void {
    this.#hedges ??= new Set();
    this.#hedges.add(log);
  }

  /** An attempt begins; its account is `log`. */
  attempt(log: Attempt, streaming: boolean): AttemptNotes {
    if (this.#heir) return this.#heir.attempt(log, streaming);
    const hedged = this.#hedges?.has(log) ?? false;
    const notes = new AttemptNotes(log, streaming, hedged, this.trace?.attempt(log));
    this.attempts.push(notes);
    return notes;
  }

  /** This call ends, and another one that shares its answer pays: the attempts that were made are its own, and those to come. */
  handOver(to: CallNotes): void {
    this.#heir = to;
    to.attempts.push(...this.attempts.splice(0));
    to.decision ??= this.decision;
    // The same set: what is hedged from now on is noted here.
    to.#hedges = this.#hedges ??= new Set();
  }
}

/** What is noted of one attempt at a provider. */
export class AttemptNotes implements UpstreamWatch {
  /** How it ended, and what it consumed. */
  readonly log: Attempt;
  readonly hedged: boolean;
  readonly beganAt = performance.now();
  sentAt: number | undefined;
  firstContentAt: number | undefined;
  endedAt: number | undefined;
  /** Seconds between contents of a stream; undefined: there were none. */
  gaps: Histogram | undefined;
  readonly #streaming: boolean;
  readonly #trace: AttemptTrace | undefined;
  #lastContentAt = 0;
  #upstream: UpstreamTrace | undefined;

  constructor(log: Attempt, streaming: boolean, hedged: boolean, trace: AttemptTrace | undefined) {
    this.log = log;
    this.hedged = hedged;
    this.#streaming = streaming;
    this.#trace = trace;
  }

  begin(method: string, path: string): TraceHeaders {
    if (this.#trace === undefined) return none;
    this.#upstream?.ended(undefined);
    this.#upstream = this.#trace.upstream(method, path);
    return this.#upstream.headers;
  }

  sent(): void {
    this.sentAt ??= performance.now();
    this.#upstream?.sent();
  }

  answered(status: number): void {
    this.#upstream?.answered(status);
  }

  ended(failure: unknown): void {
    this.#upstream?.ended(failure);
    this.#upstream = undefined;
  }

  /** The provider has sent something that counts; `now` is when. */
  content(now: number): void {
    if (this.firstContentAt === undefined) this.firstContentAt = now;
    else if (this.#streaming) {
      this.gaps ??= new Histogram(chunkSeconds);
      this.gaps.record((now - this.#lastContentAt) / 1000);
    }
    this.#lastContentAt = now;
  }

  /** The attempt is over, and its log is complete. */
  end(failure: unknown): void {
    this.endedAt = performance.now();
    this.ended(failure);
    this.#trace?.end(this.log, failure, this.#firstChunkMs());
  }

  get succeeded(): boolean {
    return this.log.outcome === AttemptOutcome.SUCCEEDED;
  }

  #firstChunkMs(): number | undefined {
    return this.#streaming && this.firstContentAt !== undefined ? this.firstContentAt - this.beganAt : undefined;
  }
}
