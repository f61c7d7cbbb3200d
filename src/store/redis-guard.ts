import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { RedisConnection } from './redis-connection.ts';

/** Redis did not do what was asked, or not in time; whether it does it later is unknown. */
export class StoreAway extends Error {
  override readonly name = 'StoreAway';
}

/** A script in Lua, known to Redis by its digest. */
export interface Script {
  readonly source: string;
  readonly sha1: string;
}

export function scriptOf(source: string): Script {
  return { source, sha1: createHash('sha1').update(source).digest('hex') };
}

/** How Redis is guarded. */
export interface RedisGuardOptions {
  readonly connection: RedisConnection;
  readonly log: Logger;
  /** What the names of all keys begin with. */
  readonly keyPrefix: string;
  /** How long a command may take. The default value is 75 ms. */
  readonly timeoutMs?: number;
  /** How often Redis is tried while it is away. The default value is 250 ms. */
  readonly probeMs?: number;
  /** How often it is asked while it is there, so that its going is known though nobody needs it. The default value is 5 s. */
  readonly watchMs?: number;
  /** Told of each command that was sent to Redis for somebody. */
  readonly onCommand?: CommandWatch | undefined;
}

/** Told of a command that was sent: which, how long it took, and whether it failed. */
export type CommandWatch = (command: string, durationMs: number, failed: boolean) => void;

const TIMEOUT_MS = 75;
const PROBE_MS = 250;
const WATCH_MS = 5000;
/** How often the log is told that Redis is away. */
const REMIND_MS = 30_000;
const PROBE_LIFE_MS = '1000';
/** While it has never been there, it is tried more often, and nothing is said for a while. */
const START_MS = 500;
const START_PROBE_MS = 20;
/** A timer that fires as late as this tells of a pause of the process. */
const PAUSE_MS = 10;

/**
 * Stands before Redis, so that one that is away costs callers a timeout once and nothing from then on.
 *
 * The first command that fails or takes too long opens it: from then on commands are refused at once. In the background a write
 * is tried every now and then, as a server may answer and yet take nothing (read-only, out of memory, still loading); the first
 * one that succeeds closes it. No caller is ever the one on trial.
 */
export class RedisGuard {
  readonly #connection: RedisConnection;
  readonly #log: Logger;
  readonly #keyPrefix: string;
  readonly #timeoutMs: number;
  readonly #probeMs: number;
  readonly #watchMs: number;
  readonly #onCommand: CommandWatch | undefined;
  readonly #listeners: (() => void)[] = [];
  #up = false;
  #closed = false;
  #probe: NodeJS.Timeout | undefined;
  /** Where the probe goes: in a cluster to the part that failed. */
  #probeKey: string;
  #told = Number.NEGATIVE_INFINITY;
  #startingUntil = performance.now() + START_MS;

  constructor(options: RedisGuardOptions) {
    const { connection, log, keyPrefix, timeoutMs = TIMEOUT_MS, onCommand } = options;
    const { probeMs = PROBE_MS, watchMs = WATCH_MS } = options;
    this.#connection = connection;
    this.#log = log;
    this.#keyPrefix = keyPrefix;
    this.#timeoutMs = timeoutMs;
    this.#probeMs = probeMs;
    this.#watchMs = watchMs;
    this.#onCommand = onCommand;
    this.#probeKey = `${keyPrefix}probe`;
    this.#scheduleProbe(0);
  }

  /** Whether Redis is believed to answer. */
  get up(): boolean {
    return this.#up;
  }

  get clustered(): boolean {
    return this.#connection.clustered;
  }

  /** Have something done whenever Redis is back. */
  whenUp(listener: () => void): void {
    this.#listeners.push(listener);
    if (this.#up) listener();
  }

  /** Resolves once Redis answers, or after the time. */
  ready(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs);
      this.whenUp(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Run a script by its digest, or whole where Redis does not know it. The first key says where. */
  async run(script: Script, keys: readonly string[], args: readonly string[], patienceMs?: number): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    const [key = this.#probeKey] = keys;
    try {
      return await this.send(key, ['EVALSHA', script.sha1, ...rest], patienceMs);
    } catch (error) {
      if (!messageOf(error).startsWith('NOSCRIPT')) throw error;
    }
    return this.send(key, ['EVAL', script.source, ...rest], patienceMs);
  }

  /**
   * Send a command. Rejects with StoreAway, at once while Redis is away.
   *
   * One that is given more patience is for nobody who waits: if it fails, that says nothing about others.
   */
  async send(key: string, command: readonly string[], patienceMs?: number): Promise<unknown> {
    if (!this.#up) throw new StoreAway('Redis is away');
    const sinceAt = performance.now();
    const told = (failed: boolean) => this.#onCommand?.(command[0] ?? '', performance.now() - sinceAt, failed);
    try {
      const answer = await this.#inTime(key, command, patienceMs ?? this.#timeoutMs);
      told(false);
      return answer;
    } catch (cause) {
      const message = messageOf(cause);
      const isUnknownScript = message.startsWith('NOSCRIPT');
      told(!isUnknownScript);
      if (isUnknownScript) throw cause;
      if (patienceMs === undefined) this.#fail(key, message);
      throw new StoreAway(`Redis is away: ${message}`, { cause });
    }
  }

  close(): void {
    this.#closed = true;
    this.#up = false;
    clearTimeout(this.#probe);
    this.#connection.close();
  }

  /**
   * Wait for an answer, but not for long.
   *
   * A timer that fires late tells of a pause of this very process, such as a collection of garbage: the command may not even
   * have left. Then it gets its time once more. And what has come is read before anybody is blamed.
   */
  #inTime(key: string, command: readonly string[], timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const expire = () => {
        setImmediate(() => setImmediate(() => reject(new Error(`no answer to ${command[0]} within ${timeoutMs} ms`))));
      };
      const due = performance.now() + timeoutMs;
      let timer = setTimeout(() => {
        if (performance.now() - due < PAUSE_MS) expire();
        else timer = setTimeout(expire, timeoutMs);
      }, timeoutMs);
      this.#connection
        .send(key, command)
        .then(resolve, reject)
        .finally(() => clearTimeout(timer));
    });
  }

  #fail(key: string, message: string): void {
    if (this.#closed) return;
    // What was a master may be a replica now: the name may lead to another server.
    if (message.startsWith('READONLY')) this.#connection.reconnect();
    if (!this.#up) return;
    this.#up = false;
    // In the same part of a cluster as the key, and never the key itself: the probe writes.
    const tag = /\{[^}]+\}/.exec(key)?.[0] ?? `{${key}}`;
    this.#probeKey = `${this.#keyPrefix}probe${tag}`;
    this.#remind(message);
    this.#scheduleProbe(this.#probeMs);
  }

  #remind(message: string): void {
    const now = performance.now();
    const level = now - this.#told >= REMIND_MS ? 'warn' : 'debug';
    if (level === 'warn') this.#told = now;
    this.#log[level]({ error: message }, 'Redis is away');
  }

  #scheduleProbe(afterMs: number): void {
    clearTimeout(this.#probe);
    this.#probe = setTimeout(() => this.#try(), afterMs);
    this.#probe.unref();
  }

  #try(): void {
    const command = ['SET', this.#probeKey, '1', 'PX', PROBE_LIFE_MS];
    this.#inTime(this.#probeKey, command, this.#timeoutMs).then(
      () => {
        if (this.#closed) return;
        this.#scheduleProbe(this.#watchMs);
        if (this.#up) return;
        this.#up = true;
        this.#startingUntil = 0;
        this.#log.info('Redis answers');
        for (const listener of this.#listeners) listener();
      },
      (error: unknown) => {
        if (this.#closed) return;
        const message = messageOf(error);
        if (message.startsWith('READONLY')) this.#connection.reconnect();
        this.#up = false;
        const isStarting = performance.now() < this.#startingUntil;
        if (!isStarting) this.#remind(message);
        this.#scheduleProbe(isStarting ? START_PROBE_MS : this.#probeMs);
      },
    );
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
