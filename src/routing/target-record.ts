import type { Reason } from '../errors.ts';
import { PeakEwma } from './latency.ts';

/** How an attempt ended, as far as it says something about the provider. */
export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: Reason } | 'nothing';

/** What is told of each attempt at a target: that it began, when its first content came, how and after how long it ended. */
export interface AttemptsRecord {
  begin(streaming: boolean): void;
  firstContent(afterMs: number, streaming: boolean): void;
  end(verdict: Verdict, afterMs: number, streaming: boolean): void;
}

/** One kind of calls. */
interface Calls {
  active: number;
  readonly latency: PeakEwma;
}

/**
 * What this replica has seen of a provider's model, for strategies.
 *
 * Streamed calls and whole ones are told apart: a whole answer takes longer than a first token.
 */
export class TargetRecord implements AttemptsRecord {
  readonly #streamed: Calls;
  readonly #whole: Calls;

  constructor(now: () => number = () => performance.now()) {
    this.#streamed = { active: 0, latency: new PeakEwma(now) };
    this.#whole = { active: 0, latency: new PeakEwma(now) };
  }

  begin(streaming: boolean): void {
    this.#calls(streaming).active++;
  }

  firstContent(afterMs: number, streaming: boolean): void {
    this.#calls(streaming).latency.observe(afterMs);
  }

  end(verdict: Verdict, afterMs: number, streaming: boolean): void {
    const calls = this.#calls(streaming);
    // The record may have been forgotten and begun anew since the attempt began.
    calls.active = Math.max(calls.active - 1, 0);
    if (verdict !== 'nothing' && !verdict.ok) calls.latency.fail(afterMs);
  }

  /** Attempts of both kinds under way. */
  get active(): number {
    return this.#streamed.active + this.#whole.active;
  }

  /** How long answers of a kind lately took to begin, in milliseconds; undefined: not called yet. */
  latencyMs(streaming: boolean): number | undefined {
    return this.#calls(streaming).latency.ms;
  }

  /**
   * What one more call costs, for comparison with other targets.
   *
   * All calls under way weigh on it. Whether somebody is trying out a target is a matter of calls of the same kind only: where
   * those of the other kind never end, its latency would stay unknown.
   */
  latencyCost(streaming: boolean): number {
    const { latency, active } = this.#calls(streaming);
    return latency.cost(latency.ms === undefined ? active : this.active);
  }

  #calls(streaming: boolean): Calls {
    return streaming ? this.#streamed : this.#whole;
  }
}
