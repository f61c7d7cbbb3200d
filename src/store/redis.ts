import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { type RedisGuard, scriptOf } from './redis-guard.ts';
import type { BudgetLimit, Holding, Limit, LimitStore, Reservation, Standing, Taken, Used } from './store.ts';

/** How limits are kept in Redis. */
export interface RedisLimitsOptions {
  readonly guard: RedisGuard;
  readonly log: Logger;
  readonly keyPrefix: string;
  readonly leaseMs: number;
  /** A clock for tests. Undefined: the server's own. */
  readonly now?: (() => number) | undefined;
  /** What is remembered to be told once Redis is back. The default value is 10,000. */
  readonly maxPending?: number;
}

/** Of the names of keys and of what they hold: gateways of two versions may share one Redis while they are replaced. */
const VERSION = 'limits1';
const MAX_PENDING = 10_000;
const MAX_TRIES = 5;
/** Told at once when Redis is back: more would make it answer late. */
const BATCH = 50;

const operations = ['take', 'undo', 'settle', 'renew', 'look', 'charge'] as const;

type Operation = (typeof operations)[number];

/**
 * One script for all that is done to limits: what one process sends first is done first.
 *
 * With one for each operation, a Redis that was new knew how to take, and had to be told how to settle when the first call was over.
 * The caller's next call came between, and was refused for what the first one held.
 */
const script = scriptOf(
  [
    read('limits'),
    'local operations = {}',
    ...operations.map((name) => `function operations.${name}()\n${read(name)}\nend`),
    'return operations[ARGV[1]]()',
  ].join('\n'),
);

function read(name: string): string {
  return readFileSync(new URL(`redis/${name}.lua`, import.meta.url), 'utf8');
}

/** What is held, under an id that no other process uses. */
class RedisReservation implements Reservation {
  readonly id: string;
  readonly limits: readonly Limit[];

  constructor(id: string, limits: readonly Limit[]) {
    this.id = id;
    this.limits = limits;
  }
}

/** Something to tell Redis, now or once it is back. Telling it twice does nothing. */
interface Task {
  readonly run: () => Promise<unknown>;
  tries: number;
}

/**
 * Keeps limits in Redis, for all processes that share it.
 *
 * - One script takes from all limits of a call: one round trip. In a cluster a script reaches one slot only, so limits are taken
 *   subject by subject, and given back when a later subject refuses.
 * - The clock is the server's. Keys expire once they say nothing that a missing key does not.
 * - `take` rejects with StoreAway while Redis is away. What is settled meanwhile is told later.
 */
export class RedisLimits implements LimitStore {
  readonly #guard: RedisGuard;
  readonly #log: Logger;
  readonly #keyPrefix: string;
  readonly #leaseMs: number;
  readonly #now: (() => number) | undefined;
  readonly #maxPending: number;
  readonly #process = randomBytes(9).toString('base64url');
  readonly #running = new Set<Promise<void>>();
  #pending: Task[] = [];
  #dropped = 0;
  #lastId = 0;

  constructor({ guard, log, keyPrefix, leaseMs, now, maxPending = MAX_PENDING }: RedisLimitsOptions) {
    this.#guard = guard;
    this.#log = log;
    this.#keyPrefix = keyPrefix;
    this.#leaseMs = leaseMs;
    this.#now = now;
    this.#maxPending = maxPending;
    guard.whenUp(() => this.#tellPending());
  }

  /** Whether Redis is believed to answer. */
  get up(): boolean {
    return this.#guard.up;
  }

  async take(limits: readonly Limit[]): Promise<Taken> {
    const id = this.#newId();
    const held = limits.filter(({ kind }) => kind !== 'requests');
    const reservation = held.length === 0 ? undefined : new RedisReservation(id, held);
    const standings: Standing[] = [];
    const taken: (readonly Limit[])[] = [];
    try {
      for (const group of this.#groups(limits)) {
        const answer = (await this.#run('take', id, group)) as string[];
        const groupStandings = group.map((limit, index) => ({
          limit,
          remaining: Number(answer[3 + index * 2]),
          resetMs: numberOf(answer[4 + index * 2]),
        }));
        standings.push(...groupStandings);
        if (answer[0] === '1') {
          taken.push(group);
          continue;
        }
        for (const before of taken) this.#track(this.#run('undo', id, before));
        const refusedBy = group[Number(answer[1]) - 1] as Limit;
        return { admitted: false, refusedBy, waitMs: numberOf(answer[2]), standings };
      }
    } catch (error) {
      // The script may have run, or may yet run: what it has taken then is held by nobody.
      if (reservation) this.settle(reservation, { tokens: 0, nanoUsd: 0 });
      throw error;
    }
    return { admitted: true, reservation, standings };
  }

  settle(reservation: Reservation, used: Used): void {
    const { id, limits } = reservation as RedisReservation;
    for (const group of this.#groups(limits)) this.#tell(() => this.#run('settle', id, group, used));
  }

  renew(reservations: readonly Reservation[]): void {
    if (!this.#guard.up) return;
    for (const reservation of reservations) {
      const { id, limits } = reservation as RedisReservation;
      for (const group of this.#groups(limits)) this.#track(this.#run('renew', id, group));
    }
  }

  async look(limits: readonly Limit[]): Promise<Holding[]> {
    const holdings: Holding[] = [];
    for (const group of this.#groups(limits)) {
      const answer = (await this.#run('look', '', group)) as string[];
      for (const [index, limit] of group.entries()) {
        const [remaining, resetMs, reserved] = answer.slice(index * 3, index * 3 + 3);
        holdings.push({ limit, remaining: Number(remaining), resetMs: numberOf(resetMs), reserved: Number(reserved) });
      }
    }
    return limits.map((limit) => holdings.find((holding) => holding.limit === limit) as Holding);
  }

  /** Take money that was spent while Redis was away. */
  charge(limit: BudgetLimit, nanoUsd: number): void {
    const id = this.#newId();
    const keys = [...this.#keysOf(limit), `${this.#keyOf(limit)}:charged:${id}`];
    const args = [...this.#opening('charge', id), ...argumentsOf(limit, { tokens: 0, nanoUsd })];
    this.#tell(() => this.#guard.run(script, keys, args));
  }

  async flush(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async close(): Promise<void> {
    await this.flush();
  }

  /** Limits that one script can reach. */
  #groups(limits: readonly Limit[]): Iterable<readonly Limit[]> {
    if (limits.length === 0) return [];
    return this.#guard.clustered ? Map.groupBy(limits, ({ subject }) => subject).values() : [limits];
  }

  #run(operation: Operation, id: string, limits: readonly Limit[], used?: Used): Promise<unknown> {
    const keys = limits.flatMap((limit) => this.#keysOf(limit));
    const args = this.#opening(operation, id);
    for (const limit of limits) args.push(...argumentsOf(limit, used));
    return this.#guard.run(script, keys, args);
  }

  /** What the arguments of every operation begin with. */
  #opening(operation: Operation, id: string): string[] {
    return [operation, String(this.#now?.() ?? ''), String(this.#leaseMs), id];
  }

  /** What is in braces decides on the slot in a cluster: everything of one subject is in one. */
  #keyOf({ subject, name }: Limit): string {
    return `${this.#keyPrefix}${VERSION}:{${subject}}:${name}`;
  }

  #keysOf(limit: Limit): string[] {
    const key = this.#keyOf(limit);
    return [key, `${key}:held`, `${key}:late`];
  }

  #newId(): string {
    return `${this.#process}${(++this.#lastId).toString(36)}`;
  }

  #tell(run: () => Promise<unknown>): void {
    const task: Task = { run, tries: 0 };
    if (this.#guard.up) this.#try(task);
    else this.#postpone(task);
  }

  #try(task: Task): Promise<void> {
    task.tries++;
    return this.#track(
      task.run().catch((error: unknown) => {
        if (task.tries < MAX_TRIES) this.#postpone(task);
        else this.#log.error({ err: error }, 'what a call used could not be kept');
      }),
    );
  }

  #track(work: Promise<unknown>): Promise<void> {
    const running = work.then(
      () => {},
      () => {},
    );
    this.#running.add(running);
    running.then(() => this.#running.delete(running));
    return running;
  }

  /** What does not fit any more is lost: its lease ends, as if the call had never been. */
  #postpone(task: Task): void {
    if (this.#pending.length >= this.#maxPending) {
      this.#pending.shift();
      if (this.#dropped++ === 0) this.#log.warn('more calls ended while Redis is away than can be remembered');
    }
    this.#pending.push(task);
  }

  async #tellPending(): Promise<void> {
    while (this.#pending.length > 0 && this.#guard.up) {
      await Promise.all(this.#pending.splice(0, BATCH).map((task) => this.#try(task)));
    }
    this.#dropped = 0;
  }
}

function argumentsOf(limit: Limit, used?: Used): string[] {
  const rate = limit.kind === 'budget' ? limit.periodMs : limit.kind === 'concurrent' ? 0 : limit.refillPerMs;
  const args = [limit.kind, String(limit.capacity), String(rate), String(limit.amount)];
  if (used) args.push(String(limit.kind === 'budget' ? used.nanoUsd : used.tokens));
  return args;
}

function numberOf(text: string | undefined): number {
  return text === 'inf' ? Number.POSITIVE_INFINITY : Number(text);
}
