import type { Reason } from '../errors.ts';

const REMEMBERED = 20;
const LATENCY_WEIGHT = 0.2;

/** How an attempt at a provider ended, as far as it says something about the provider. */
export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: Reason } | 'nothing';

/** What this replica has seen of one provider. Kept by name, so that it outlives a change of the configuration. */
export class ProviderRecord {
  active = 0;
  /** Smoothed time to the first content, in milliseconds. */
  latencyMs: number | undefined;
  /** Milliseconds since 1970, of the wall clock: for people to read. */
  lastSuccess: number | undefined;
  lastError: number | undefined;
  lastErrorReason: Reason | undefined;
  /** The last outcomes, oldest first; true is a success. */
  readonly #outcomes: boolean[] = [];

  firstContent(afterMs: number): void {
    const before = this.latencyMs;
    this.latencyMs = before === undefined ? afterMs : before + LATENCY_WEIGHT * (afterMs - before);
  }

  end(verdict: Verdict): void {
    if (verdict === 'nothing') return;
    this.#outcomes.push(verdict.ok);
    if (this.#outcomes.length > REMEMBERED) this.#outcomes.shift();
    if (verdict.ok) {
      this.lastSuccess = Date.now();
    } else {
      this.lastError = Date.now();
      this.lastErrorReason = verdict.reason;
    }
  }

  /** Share of failures among the last 20 judged attempts, 0 to 1. */
  get errorRate(): number {
    return this.#outcomes.length === 0 ? 0 : this.#outcomes.filter((ok) => !ok).length / this.#outcomes.length;
  }

  get healthy(): boolean {
    return this.errorRate < 0.5;
  }
}

/** What this replica has seen of its providers, by name. */
export class Observations {
  readonly #records = new Map<string, ProviderRecord>();

  of(provider: string): ProviderRecord {
    let record = this.#records.get(provider);
    if (!record) {
      record = new ProviderRecord();
      this.#records.set(provider, record);
    }
    return record;
  }
}
