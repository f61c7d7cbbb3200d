import { GatewayError } from '../errors.ts';
import { Ration } from './ration.ts';

/** How busy the process is, over the last moment. */
export interface Load {
  /** How long a turn of the event loop took on average, without waiting for anything, in milliseconds. */
  readonly turnMs: number;
  /** The share of memory in use, 0 to 1: of the heap or of the container, whichever is fuller. */
  readonly memoryShare: number;
}

/** Bounds beyond which there is too much to do. */
export interface OverloadOptions {
  /** What calls may wait for the event loop, in milliseconds; above it, they are refused. 0: any. */
  readonly loopDelayMs: number;
  /** How many samples must have been late for that. */
  readonly lateSamples: number;
  /** Share of memory above which nothing more is cached. */
  readonly stopCachingAt: number;
  /** Share of memory above which calls are refused; 1: any. */
  readonly refuseAt: number;
  /** How many classes of callers there are. The first one is refused first. */
  readonly ranks: number;
  /** Milliseconds since the first call that came in this turn of the event loop. */
  readonly intoTurnMs: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
}

/** Where a single turn takes longer than the bound in spite of rationing in so many samples in a row, it is not for the calls that come. */
const IN_VAIN = 4;
/** By how much the share of refused calls then grows with each late sample, for one class after the other. */
const STEP = 0.1;
/** What is left of it after each sample in which the loop was in time again. */
const DECAY = 0.5;
/** A turn is in time again below this share of the bound, and memory suffices this far below its bounds. */
const CALM = 0.5;
const MEMORY_CALM = 0.05;
/** Less is nothing. */
const LEAST = 0.02;

/**
 * Decides which calls are refused because there is too much to do.
 *
 * - Long turns of the event loop: calls are rationed (`Ration`). A share that follows how late the loop is would come too late itself,
 *   either way: a second's backlog is as much as a second's work.
 * - Turns that are long all the same, such as for the streams that are under way: each sample above the bound refuses a tenth more
 *   of the first class, then of the next. Samples between half the bound and the bound change nothing; below, what is refused halves.
 * - Memory: above its bound everything of the first class is refused; the classes above it follow on the rest of the way to
 *   full. It is well again a little below the bound.
 *
 * The clock and what is measured are the caller's: see `watchLoad`.
 */
export class Overload {
  #options: OverloadOptions;
  readonly #ration = new Ration();
  #held = 0;
  #lateInVain = 0;
  /** 0: nobody is refused; 1: the first class is; 2: the second one is, too. */
  #pressure = 0;
  #memoryShare = 0;
  #mayCache = true;
  readonly #isFull: boolean[] = [];

  constructor(options: OverloadOptions) {
    this.#options = options;
  }

  /** Go by other bounds from now on. */
  configure(options: Partial<OverloadOptions>): void {
    this.#options = { ...this.#options, ...options };
  }

  /** Take note of the load, at regular times. */
  sample({ turnMs, memoryShare }: Load): void {
    this.#judgeLoop(turnMs);
    this.#judgeMemory(memoryShare);
  }

  /** Whether there is memory for more answers in the cache. */
  get mayCache(): boolean {
    return this.#mayCache;
  }

  /** Whether any call may be refused: while none is, nobody need look any further. */
  get isOn(): boolean {
    return this.#ration.isOn || this.#pressure > 0 || this.isFull(0);
  }

  /** Whether the event loop is late. */
  get isLate(): boolean {
    return this.#ration.isLate;
  }

  /** Somebody who is refused because of the load is told in a while; returns what is to be done then. */
  hold(): () => void {
    this.#held++;
    return () => this.#held--;
  }

  /** Whether there is no memory for calls of a class. */
  isFull(rank: number): boolean {
    return this.#isFull[rank] === true;
  }

  /** The share of calls of a class that is refused at any moment of a turn, 0 to 1. */
  refusedShare(rank: number): number {
    if (this.isFull(rank)) return 1;
    return Math.min(1, Math.max(0, this.#pressure - rank));
  }

  /** Why a call of this class is refused; undefined: it is not. */
  refusal(rank: number): GatewayError | undefined {
    if (!this.isOn) return undefined;
    const { random, intoTurnMs } = this.#options;
    const share = this.refusedShare(rank);
    const isLate = this.#ration.isOn && this.#ration.refuses(rank, intoTurnMs());
    if (!isLate && (share === 0 || random() >= share)) return undefined;
    const message = this.isFull(rank)
      ? `the gateway is out of memory: ${Math.round(this.#memoryShare * 100)} % is in use`
      : 'the gateway has more to do than it can';
    return overloaded(message, random);
  }

  #judgeLoop(turnMs: number): void {
    const { loopDelayMs: bound, lateSamples, ranks } = this.#options;
    // Those samples that made it begin are not in vain.
    const wasRationed = this.#ration.isOn;
    this.#ration.sample(turnMs, { delayMs: bound, lateSamples, held: this.#held });
    if (bound === 0) return;
    if (wasRationed && turnMs > bound) {
      if (++this.#lateInVain >= IN_VAIN) this.#pressure = Math.min(ranks, this.#pressure + STEP);
      return;
    }
    this.#lateInVain = 0;
    if (turnMs > bound * CALM) return;
    this.#pressure *= DECAY;
    if (this.#pressure < LEAST) this.#pressure = 0;
  }

  #judgeMemory(share: number): void {
    const { stopCachingAt, refuseAt, ranks } = this.#options;
    this.#memoryShare = share;
    this.#mayCache = this.#mayCache ? share < stopCachingAt : share < stopCachingAt - MEMORY_CALM;
    if (refuseAt >= 1) return;
    for (let rank = 0; rank < ranks; rank++) {
      const bound = refuseAt + ((1 - refuseAt) * rank) / ranks;
      this.#isFull[rank] = share >= (this.#isFull[rank] ? bound - MEMORY_CALM : bound);
    }
  }
}

/**
 * An error that asks to come again in one to three seconds, not all at once.
 *
 * It has no stack: that would be a fourth of what a refusal takes, when there is least to spare, and tell nothing.
 */
export function overloaded(message: string, random: () => number): GatewayError {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return new GatewayError('overloaded', message, { retryAfterMs: 1000 * (1 + Math.floor(3 * random())) });
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
