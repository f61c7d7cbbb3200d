import type { Logger } from 'pino';
import { BufferedUsage } from './buffered-usage.ts';
import { MemoryLimits } from './memory.ts';
import { MemoryUsage } from './memory-usage.ts';
import { OutageLimits, type OutagePolicy } from './outage.ts';
import { RedisLimits } from './redis.ts';
import { connectRedis } from './redis-connection.ts';
import { type CommandWatch, RedisGuard } from './redis-guard.ts';
import { parseRedisUrl } from './redis-url.ts';
import { RedisUsage } from './redis-usage.ts';
import type { LimitStore, UsageStore } from './store.ts';

/** Where things are kept. */
export interface StoreSettings {
  /** Empty: in memory. */
  readonly redisUrl: string;
  /** What the names of all keys in Redis begin with. */
  readonly keyPrefix: string;
  readonly onOutage: OutagePolicy;
  /** How many replicas share the limits. */
  readonly replicas: number;
  /** Of a file for budgets and usage. Empty: none. */
  readonly sqlitePath: string;
  /** How long a call may hold what it does not renew. */
  readonly leaseMs: number;
}

/** What is kept between calls. */
export interface Stores {
  readonly limits: LimitStore;
  readonly usage: UsageStore;
  /**
   * A way to Redis of its own, for answers: they are large, and limits must not wait for them, nor be taken for away when one was
   * too much. Undefined: there is no Redis.
   */
  readonly redis: RedisGuard | undefined;
  /** Whether Redis answers, for limits and for answers; undefined: there is none. */
  readonly redisUp: (() => boolean) | undefined;
  /** Write what is not written yet, and close. */
  close(): Promise<void>;
}

/** The start does not wait longer than this for Redis. */
const START_MS = 500;
/** What is left to be told to Redis gets this long at the end. */
const LAST_WORDS_MS = 500;

/** Open the stores that the settings name. A Redis that is away is no reason not to start; a file that cannot be used is. */
export async function openStores(settings: StoreSettings, log: Logger, onCommand?: CommandWatch): Promise<Stores> {
  if (settings.redisUrl !== '') return openRedis(settings, log, onCommand);
  return settings.sqlitePath === '' ? openMemory(settings) : openSqlite(settings, log);
}

function openMemory({ leaseMs }: StoreSettings): Stores {
  return {
    limits: new MemoryLimits({ leaseMs }),
    usage: new MemoryUsage(),
    redis: undefined,
    redisUp: undefined,
    close: async () => {},
  };
}

/** The file is loaded only where it is wanted: SQLite takes its time. */
async function openSqlite({ leaseMs, sqlitePath }: StoreSettings, log: Logger): Promise<Stores> {
  const { SqliteFile } = await import('./sqlite.ts');
  const file = new SqliteFile(sqlitePath, log);
  const usage = new BufferedUsage(file, log);
  return {
    limits: new MemoryLimits({ leaseMs, ledger: file }),
    usage,
    redis: undefined,
    redisUp: undefined,
    async close() {
      await usage.close();
      file.close();
    },
  };
}

async function openRedis(settings: StoreSettings, log: Logger, onCommand: CommandWatch | undefined): Promise<Stores> {
  const { redisUrl, keyPrefix, leaseMs, onOutage: policy, replicas } = settings;
  const place = parseRedisUrl(redisUrl);
  if (place === undefined) throw new TypeError('state.redis_url is no URL of a Redis');
  // What went wrong with a connection is told by the guard, when somebody needed it.
  const connect = () => connectRedis(place, (error) => log.debug({ error: error.message }, 'a connection to Redis'));
  const guard = new RedisGuard({ connection: await connect(), log, keyPrefix, onCommand });
  const ofAnswers = log.child({ of: 'answers' });
  const answers = new RedisGuard({
    connection: await connect(),
    log: ofAnswers,
    keyPrefix: `${keyPrefix}answers:`,
    onCommand,
  });
  const shared = new RedisLimits({ guard, log, keyPrefix, leaseMs });
  const usage = new BufferedUsage(new RedisUsage(guard, keyPrefix), log);
  await Promise.all([guard.ready(START_MS), answers.ready(START_MS)]);
  return {
    limits: new OutageLimits({ shared, own: new MemoryLimits({ leaseMs }), policy, replicas }),
    usage,
    redis: answers,
    redisUp: () => guard.up && answers.up,
    async close() {
      await Promise.race([
        Promise.all([shared.flush(), usage.close()]),
        new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS).unref()),
      ]);
      guard.close();
      answers.close();
    },
  };
}
