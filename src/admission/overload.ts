import { GatewayError } from '../errors.ts';

/** How busy the process is, over the last moment. */
export interface Load {
  /** How late the event loop came at worst, in milliseconds. */
  readonly loopDelayMs: number;
  /** The share of memory in use, 0 to 1: of the heap or of the container, whichever is fuller. */
  readonly memoryShare: number;
}

/** Bounds beyond which there is too much to do. */
export interface OverloadOptions {
  /** Delay of the event loop above which calls are refused, in milliseconds; 0: any. */
  readonly loopDelayMs: number;
  /** Share of memory above which nothing more is cached. */
  readonly stopCachingAt: number;
  /** Share of memory above which calls are refused; 1: any. */
  readonly refuseAt: number;
  /** How many classes of callers there are. The first one is refused first. */
  readonly ranks: number;
  /** From 0 to 1. */
  readonly random: () => number;
}

/** The loop must have been late in so many samples in a row: one collection of garbage is no overload. */
const SUSTAINED = 3;
/** By how much the share of refused calls grows with each late sample, for one class after the other. */
const STEP = 0.1;
/** What is left of it after each sample in which the loop was in time again. */
const DECAY = 0.5;
/** The loop is in time again below this share of the bound, and memory suffices this far below its bounds. */
const CALM = 0.5;
const MEMORY_CALM = 0.05;
/** Less is nothing. */
const LEAST = 0.02;

/**
 * Decides which calls are refused because there is too much to do.
 *
 * - A late event loop: each late sample refuses a tenth more of the first class, then of the next. Samples between half the bound
 *   and the bound change nothing; below, what is refused halves with each.
 * - Memory: above its bound everything of the first class is refused; the classes above it follow on the rest of the way to
 *   full. It is well again a little below the bound.
 *
 * The clock and what is measured are the caller's: see `watchLoad`.
 */
export class Overload {
  readonly #options: OverloadOptions;
  #lateSamples = 0;
  /** 0: nobody is refused; 1: the first class is; 2: the second one is, too. */
  #pressure = 0;
  #memoryShare = 0;
  #mayCache = true;
  readonly #isFull: boolean[];

  constructor(options: OverloadOptions) {
    this.#options = options;
    this.#isFull = Array.from({ length: options.ranks }, () => false);
  }

  /** Take note of the load, at regular times. */
  sample({ loopDelayMs, memoryShare }: Load): void {
    this.#judgeLoop(loopDelayMs);
    this.#judgeMemory(memoryShare);
  }

  /** Whether there is memory for more answers in the cache. */
  get mayCache(): boolean {
    return this.#mayCache;
  }

  /** Whether any call may be refused: while none is, nobody need look any further. */
  get isOn(): boolean {
    return this.#pressure > 0 || this.#isFull[0] === true;
  }

  /** The share of calls of a class that is refused, 0 to 1. */
  refusedShare(rank: number): number {
    if (this.#isFull[rank]) return 1;
    return Math.min(1, Math.max(0, this.#pressure - rank));
  }

  /** Why a call of this class is refused; undefined: it is not. */
  refusal(rank: number): GatewayError | undefined {
    if (!this.isOn) return undefined;
    const share = this.refusedShare(rank);
    if (share === 0 || this.#options.random() >= share) return undefined;
    const message = this.#isFull[rank]
      ? `the gateway is out of memory: ${Math.round(this.#memoryShare * 100)} % is in use`
      : 'the gateway has more to do than it can';
    return overloaded(message, this.#options.random);
  }

  #judgeLoop(delayMs: number): void {
    const { loopDelayMs: bound, ranks } = this.#options;
    if (bound === 0) return;
    if (delayMs > bound) {
      this.#lateSamples++;
      if (this.#lateSamples >= SUSTAINED) this.#pressure = Math.min(ranks, this.#pressure + STEP);
      return;
    }
    this.#lateSamples = 0;
    if (delayMs > bound * CALM) return;
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

/** An error that asks to come again in one to three seconds, not all at once. */
export function overloaded(message: string, random: () => number): GatewayError {
  return new GatewayError('overloaded', message, { retryAfterMs: 1000 * (1 + Math.floor(3 * random())) });
}
