import { errorTable, type Reason } from '../errors.ts';
import { type AttemptsRecord, TargetRecord, type Verdict } from './target-record.ts';

const maxOutcomes = 20;
const outcomesMs = 5 * 60_000;
const latencyWeight = 0.2;

/** So many targets are kept in mind; more come from callers who make names up. */
const maxTargets = 1_000;

/** What this replica has seen of one provider. Kept by name, so that it outlives a change of the configuration. */
export class ProviderRecord {
  active = 0;
  /** Smoothed time to the first content, in milliseconds. */
  latencyMs: number | undefined;
  /** Milliseconds since 1970, of the wall clock: for people to read. */
  lastSuccess: number | undefined;
  lastError: number | undefined;
  lastErrorReason: Reason | undefined;
  lastProbe: number | undefined;
  /** Undefined: the last probe went well, or says nothing of the provider's health. */
  lastProbeError: Reason | undefined;
  readonly #now: () => number;
  /** The last outcomes, oldest first. */
  readonly #outcomes: { readonly ok: boolean; readonly at: number }[] = [];
  /** Whether the last probe failed, and nothing has succeeded since. */
  #probeFailed = false;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  firstContent(afterMs: number): void {
    const before = this.latencyMs;
    this.latencyMs = before === undefined ? afterMs : before + latencyWeight * (afterMs - before);
  }

  end(verdict: Verdict): void {
    if (verdict === 'nothing') return;
    // A limit is no sign of illness.
    if (verdict.ok || errorTable[verdict.reason].blames !== 'cools') {
      this.#outcomes.push({ ok: verdict.ok, at: this.#now() });
      if (this.#outcomes.length > maxOutcomes) this.#outcomes.shift();
    }
    if (verdict.ok) {
      this.lastSuccess = Date.now();
      this.#probeFailed = false;
    } else {
      this.lastError = Date.now();
      this.lastErrorReason = verdict.reason;
    }
  }

  /** The provider was asked for its models to learn whether it is well. */
  probed(error: Reason | undefined): void {
    this.lastProbe = Date.now();
    this.lastProbeError = error;
    this.#probeFailed = error !== undefined;
  }

  /**
   * Share of failures among the judged attempts of the last five minutes, and of these the last 20, 0 to 1.
   *
   * Without the limit of time a provider that failed and is therefore not asked would look ill for ever.
   */
  get errorRate(): number {
    const from = this.#now() - outcomesMs;
    let judged = 0;
    let failed = 0;
    for (const { ok, at } of this.#outcomes) {
      if (at < from) continue;
      judged++;
      if (!ok) failed++;
    }
    return judged === 0 ? 0 : failed / judged;
  }

  get healthy(): boolean {
    return this.errorRate < 0.5 && !this.#probeFailed;
  }
}

/** What this replica has seen of its providers and targets, by name. */
export class Observations {
  readonly #now: () => number;
  readonly #providers = new Map<string, ProviderRecord>();
  /** The longest unused first. */
  readonly #targets = new Map<string, TargetRecord>();

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  of(provider: string): ProviderRecord {
    let record = this.#providers.get(provider);
    if (!record) {
      record = new ProviderRecord(this.#now);
      this.#providers.set(provider, record);
    }
    return record;
  }

  ofTarget(provider: string, model: string): TargetRecord {
    return this.#ofKey(keyOf(provider, model));
  }

  #ofKey(key: string): TargetRecord {
    let record = this.#targets.get(key);
    if (record) {
      // To be moved to the end costs more than all else here, and matters only where some may soon have to go.
      if (this.#targets.size <= maxTargets / 2) return record;
      this.#targets.delete(key);
    } else {
      if (this.#targets.size >= maxTargets) this.#forgetOne();
      record = new TargetRecord(this.#now);
    }
    this.#targets.set(key, record);
    return record;
  }

  /**
   * Where to tell of the attempts at a target. It may be kept for ever: the records are looked up each time, so that one that
   * was forgotten meanwhile is begun anew, and everybody looks at the same.
   */
  attemptsAt(provider: string, model: string): AttemptsRecord {
    const key = keyOf(provider, model);
    const ofProvider = this.of(provider);
    return {
      begin: (streaming) => {
        ofProvider.active++;
        this.#ofKey(key).begin(streaming);
      },
      firstContent: (afterMs, streaming) => {
        ofProvider.firstContent(afterMs);
        this.#ofKey(key).firstContent(afterMs, streaming);
      },
      end: (verdict, afterMs, streaming) => {
        ofProvider.active--;
        ofProvider.end(verdict);
        this.#ofKey(key).end(verdict, afterMs, streaming);
      },
    };
  }

  /** The longest unused target that is idle; if all are busy, the longest unused. */
  #forgetOne(): void {
    let [forgotten] = this.#targets.keys();
    for (const [key, { active }] of this.#targets) {
      if (active > 0) continue;
      forgotten = key;
      break;
    }
    if (forgotten !== undefined) this.#targets.delete(forgotten);
  }
}

function keyOf(provider: string, model: string): string {
  return `${provider}/${model}`;
}
