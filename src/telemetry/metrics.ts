import { Counter, Family, Histogram, type LabelValues, MOST_SERIES } from './series.ts';

/** A metric: what it is called, what it counts, and where that is noted. */
export interface Instrument {
  readonly kind: 'counter' | 'histogram' | 'gauge';
  /** By OpenTelemetry's conventions where they have one; what is the gateway's own begins with `gateway.`. */
  readonly name: string;
  /** In the words of UCUM. */
  readonly unit: string;
  readonly description: string;
  /** Names of its labels. Their values come from the configuration, the catalogue or the gateway itself, never from callers. */
  readonly labels: readonly string[];
  /** Upper bounds of its buckets. */
  readonly boundaries?: readonly number[];
  /** When it is written: as a call ends, at the doors, or as somebody reads it. */
  readonly written: 'call' | 'door' | 'read';
}

const OPERATION = 'gen_ai.operation.name';
/** The provider by the conventions' name for it, such as `gcp.gemini`. */
const SYSTEM = 'gen_ai.provider.name';
/** The provider by its name in the configuration. */
const PROVIDER = 'gateway.provider';
const MODEL = 'gen_ai.request.model';
const ERROR = 'error.type';
const OUTCOME = 'gateway.outcome';
/** A key by its name in the configuration; `other` for the names that tokens bring. */
const KEY = 'gateway.key';

/** Buckets of the time between contents of a stream, in seconds, and of other times at providers. */
export const chunkSeconds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const tokens = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864];
const firstTokenSeconds = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const perTokenSeconds = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const serverSeconds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const phaseSeconds = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

/**
 * Every metric there is. Names and buckets are those of the semantic conventions 1.41 for generative AI and 1.44 for rpc and HTTP.
 *
 * @see https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-metrics.md
 */
export const instruments = {
  requests: {
    kind: 'counter',
    name: 'gateway.requests',
    unit: '{request}',
    description: 'Calls, by the door they came through and how they ended: ok, error, refused or cancelled.',
    labels: ['gateway.door', OPERATION, OUTCOME, ERROR],
    written: 'call',
  },
  phases: {
    kind: 'histogram',
    name: 'gateway.request.phase.duration',
    unit: 's',
    description:
      'What the time of answered calls went into: auth, read, queue, route, cache, retry, connect, first_token, stream, and overhead for the rest.',
    labels: ['gateway.phase'],
    boundaries: phaseSeconds,
    written: 'call',
  },
  overhead: {
    kind: 'histogram',
    name: 'gateway.request.overhead',
    unit: 's',
    description:
      'What the gateway itself added to the time of answered calls: all but queue, retry, connect, first_token and stream.',
    labels: ['gateway.door'],
    boundaries: phaseSeconds,
    written: 'call',
  },
  failovers: {
    kind: 'counter',
    name: 'gateway.failovers',
    unit: '{request}',
    description: 'Calls that more than one target was asked for, by how they ended.',
    labels: [OUTCOME],
    written: 'call',
  },
  limited: {
    kind: 'counter',
    name: 'gateway.limited',
    unit: '{request}',
    description: 'Calls that a limit of the gateway refused: rate or budget.',
    labels: ['gateway.limit', 'gateway.tier'],
    written: 'call',
  },
  shed: {
    kind: 'counter',
    name: 'gateway.shed',
    unit: '{request}',
    description:
      'Calls that were refused because there was too much to do: in_flight or overload before they were read, overloaded or draining then.',
    labels: ['gateway.shed.reason'],
    written: 'call',
  },
  attempts: {
    kind: 'counter',
    name: 'gateway.attempts',
    unit: '{attempt}',
    description: 'Attempts at a provider, by how they ended.',
    labels: [PROVIDER, MODEL, OUTCOME, ERROR],
    written: 'call',
  },
  retries: {
    kind: 'counter',
    name: 'gateway.retries',
    unit: '{attempt}',
    description: 'Attempts at a target that the same call had already asked.',
    labels: [PROVIDER, MODEL],
    written: 'call',
  },
  hedges: {
    kind: 'counter',
    name: 'gateway.hedges',
    unit: '{attempt}',
    description: 'Attempts made because an earlier one was slow, by whether they answered the call.',
    labels: [PROVIDER, MODEL, 'gateway.hedge.result'],
    written: 'call',
  },
  cost: {
    kind: 'counter',
    name: 'gateway.cost',
    unit: 'USD',
    description: 'What answers cost, as far as their price is known.',
    labels: [PROVIDER, MODEL],
    written: 'call',
  },
  unpriced: {
    kind: 'counter',
    name: 'gateway.cost.unknown',
    unit: '{request}',
    description: 'Calls that were answered, and whose price is not known.',
    labels: [PROVIDER, MODEL],
    written: 'call',
  },
  tokens: {
    kind: 'counter',
    name: 'gateway.tokens',
    unit: '{token}',
    description: 'Tokens, as providers count them: input, of it cached_input, output, of it reasoning.',
    labels: [PROVIDER, MODEL, 'gateway.token.type'],
    written: 'call',
  },
  cacheRequests: {
    kind: 'counter',
    name: 'gateway.cache.requests',
    unit: '{request}',
    description:
      'Calls on routes whose answers are cached: hit, miss, shared with a call in flight, or bypass where the cache was not to be read.',
    labels: ['gateway.cache.result'],
    written: 'call',
  },
  cacheSaved: {
    kind: 'counter',
    name: 'gateway.cache.saved',
    unit: 'USD',
    description: 'What answers would have cost that were cached, shared with another call or replayed.',
    labels: [PROVIDER, MODEL],
    written: 'call',
  },
  cacheSavedTime: {
    kind: 'counter',
    name: 'gateway.cache.saved.duration',
    unit: 's',
    description: 'How much sooner cached answers came than they did from their providers.',
    labels: [PROVIDER, MODEL],
    written: 'call',
  },
  keyTokens: {
    kind: 'counter',
    name: 'gateway.key.tokens',
    unit: '{token}',
    description: 'Tokens that answers have taken, by the name of the key that pays.',
    labels: [KEY],
    written: 'call',
  },
  keyCost: {
    kind: 'counter',
    name: 'gateway.key.cost',
    unit: 'USD',
    description: 'What answers cost, as far as their price is known, by the name of the key that pays.',
    labels: [KEY],
    written: 'call',
  },
  limitUsed: {
    kind: 'gauge',
    name: 'gateway.limit.used',
    unit: '1',
    description:
      'Share of a limit that was in use when a call was last measured by it, by the name of the key and the kind of limit.',
    labels: [KEY, 'gateway.limit'],
    written: 'read',
  },
  replays: {
    kind: 'counter',
    name: 'gateway.replays',
    unit: '{request}',
    description: 'Calls that got what became of an earlier one with their idempotency key.',
    labels: [OPERATION],
    written: 'call',
  },
  clientDuration: {
    kind: 'histogram',
    name: 'gen_ai.client.operation.duration',
    unit: 's',
    description: 'How long attempts at a provider took.',
    labels: [OPERATION, SYSTEM, PROVIDER, MODEL, ERROR],
    boundaries: chunkSeconds,
    written: 'call',
  },
  clientTokens: {
    kind: 'histogram',
    name: 'gen_ai.client.token.usage',
    unit: '{token}',
    description: 'Tokens of each attempt, where the provider told them.',
    labels: [OPERATION, SYSTEM, PROVIDER, MODEL, 'gen_ai.token.type'],
    boundaries: tokens,
    written: 'call',
  },
  clientFirstChunk: {
    kind: 'histogram',
    name: 'gen_ai.client.operation.time_to_first_chunk',
    unit: 's',
    description: 'How long providers took to the first content of a stream.',
    labels: [OPERATION, SYSTEM, PROVIDER, MODEL],
    boundaries: chunkSeconds,
    written: 'call',
  },
  clientPerChunk: {
    kind: 'histogram',
    name: 'gen_ai.client.operation.time_per_output_chunk',
    unit: 's',
    description: 'How long providers took from one content of a stream to the next.',
    labels: [OPERATION, SYSTEM, PROVIDER, MODEL],
    boundaries: chunkSeconds,
    written: 'call',
  },
  serverDuration: {
    kind: 'histogram',
    name: 'gen_ai.server.request.duration',
    unit: 's',
    description: 'How long calls took, from their arrival to the last of their answer.',
    labels: [OPERATION, SYSTEM, PROVIDER, MODEL, ERROR],
    boundaries: chunkSeconds,
    written: 'call',
  },
  serverFirstToken: {
    kind: 'histogram',
    name: 'gen_ai.server.time_to_first_token',
    unit: 's',
    description: 'How long callers waited for the first content of a stream that ended well.',
    labels: [OPERATION, SYSTEM, PROVIDER, MODEL],
    boundaries: firstTokenSeconds,
    written: 'call',
  },
  serverPerToken: {
    kind: 'histogram',
    name: 'gen_ai.server.time_per_output_token',
    unit: 's',
    description: 'How long each token after the first took, in streams that ended well.',
    labels: [OPERATION, SYSTEM, PROVIDER, MODEL],
    boundaries: perTokenSeconds,
    written: 'call',
  },
  rpcDuration: {
    kind: 'histogram',
    name: 'rpc.server.call.duration',
    unit: 's',
    description: 'How long rpcs took, streams to their end.',
    labels: ['rpc.system.name', 'rpc.method', 'rpc.status_code', ERROR],
    boundaries: serverSeconds,
    written: 'door',
  },
  httpDuration: {
    kind: 'histogram',
    name: 'http.server.request.duration',
    unit: 's',
    description: 'How long requests by REST took, streams to their end.',
    labels: ['http.request.method', 'url.scheme', 'http.route', 'http.response.status_code', ERROR],
    boundaries: serverSeconds,
    written: 'door',
  },
  active: {
    kind: 'gauge',
    name: 'gateway.requests.active',
    unit: '{request}',
    description: 'Calls being carried out.',
    labels: [],
    written: 'read',
  },
  providerActive: {
    kind: 'gauge',
    name: 'gateway.provider.active',
    unit: '{attempt}',
    description: 'Attempts at a provider being carried out.',
    labels: [PROVIDER],
    written: 'read',
  },
  providerQueue: {
    kind: 'gauge',
    name: 'gateway.provider.queue',
    unit: '{attempt}',
    description: 'Attempts waiting for a place at a provider.',
    labels: [PROVIDER],
    written: 'read',
  },
  providerUsable: {
    kind: 'gauge',
    name: 'gateway.provider.usable',
    unit: '1',
    description: '1 if calls are sent to a provider and it does well, else 0.',
    labels: [PROVIDER],
    written: 'read',
  },
  providerRemaining: {
    kind: 'gauge',
    name: 'gateway.provider.limit.remaining',
    unit: '{request}',
    description: 'Calls that a provider still allows in its current period.',
    labels: [PROVIDER],
    written: 'read',
  },
  circuitState: {
    kind: 'gauge',
    name: 'gateway.circuit.state',
    unit: '1',
    description: 'State of a circuit breaker: 0 closed, 1 half-open, 2 open.',
    labels: [PROVIDER, MODEL],
    written: 'read',
  },
  circuitTransitions: {
    kind: 'counter',
    name: 'gateway.circuit.transitions',
    unit: '{transition}',
    description: 'Changes of circuit breakers, by the new state: closed, half_open or open.',
    labels: [PROVIDER, MODEL, 'gateway.circuit.to'],
    written: 'call',
  },
  skipped: {
    kind: 'counter',
    name: 'gateway.attempts.skipped',
    unit: '{attempt}',
    description:
      'Attempts that were not made: circuit_open (a breaker or an operator), rate_limited (a limit on the provider) or unsupported.',
    labels: [PROVIDER, MODEL, 'gateway.skip.reason'],
    written: 'call',
  },
  budgetUsed: {
    kind: 'gauge',
    name: 'gateway.budget.used',
    unit: '1',
    description: 'Share of its budget that a key has used, by the name of the key.',
    labels: [KEY],
    written: 'read',
  },
  cacheBytes: {
    kind: 'gauge',
    name: 'gateway.cache.size',
    unit: 'By',
    description: 'Bytes that the response cache in memory holds.',
    labels: [],
    written: 'read',
  },
  cacheEntries: {
    kind: 'gauge',
    name: 'gateway.cache.entries',
    unit: '{answer}',
    description: 'Answers that the response cache in memory holds.',
    labels: [],
    written: 'read',
  },
  cacheStored: {
    kind: 'counter',
    name: 'gateway.cache.stored',
    unit: '{answer}',
    description: 'Answers that were put into the response cache.',
    labels: [],
    written: 'read',
  },
  cacheFailures: {
    kind: 'counter',
    name: 'gateway.cache.failures',
    unit: '{operation}',
    description: 'Times that the response cache could not be read or written.',
    labels: [],
    written: 'read',
  },
  cacheEvicted: {
    kind: 'counter',
    name: 'gateway.cache.evicted',
    unit: '{answer}',
    description: 'Answers that had to leave the response cache in memory for others.',
    labels: [],
    written: 'read',
  },
  redisUp: {
    kind: 'gauge',
    name: 'gateway.redis.up',
    unit: '1',
    description: '1 if the store that replicas share answers, else 0; by what it is used for: limits or answers.',
    labels: ['gateway.redis.use'],
    written: 'read',
  },
  redisDuration: {
    kind: 'histogram',
    name: 'gateway.redis.duration',
    unit: 's',
    description: 'How long commands to the store that replicas share took.',
    labels: ['gateway.redis.use', 'gateway.redis.command', ERROR],
    boundaries: phaseSeconds,
    written: 'call',
  },
  configReloads: {
    kind: 'counter',
    name: 'gateway.config.reloads',
    unit: '{reload}',
    description: 'Reloads of the configuration, by what came of them: applied or refused.',
    labels: ['gateway.config.outcome'],
    written: 'read',
  },
  logDropped: {
    kind: 'counter',
    name: 'gateway.log.dropped',
    unit: '{line}',
    description: 'Lines of the log that were dropped because nobody read them.',
    labels: [],
    written: 'read',
  },
  connections: {
    kind: 'gauge',
    name: 'gateway.connections',
    unit: '{connection}',
    description: 'Connections of callers.',
    labels: [],
    written: 'read',
  },
  uptime: {
    kind: 'gauge',
    name: 'process.uptime',
    unit: 's',
    description: 'Time since the process began.',
    labels: [],
    written: 'read',
  },
  cpuTime: {
    kind: 'counter',
    name: 'process.cpu.time',
    unit: 's',
    description: 'Time that the process has spent on processors.',
    labels: ['cpu.mode'],
    written: 'read',
  },
  memory: {
    kind: 'gauge',
    name: 'process.memory.usage',
    unit: 'By',
    description: 'Memory of the process that is in RAM.',
    labels: [],
    written: 'read',
  },
  heap: {
    kind: 'gauge',
    name: 'v8js.memory.heap.used',
    unit: 'By',
    description: 'Memory that the values of the program take.',
    labels: [],
    written: 'read',
  },
  openFiles: {
    kind: 'gauge',
    name: 'process.unix.file_descriptor.count',
    unit: '{file_descriptor}',
    description: 'Files and sockets that are open.',
    labels: [],
    written: 'read',
  },
  loopDelayMean: {
    kind: 'gauge',
    name: 'nodejs.eventloop.delay.mean',
    unit: 's',
    description: 'How late timers were on average, over the last minute.',
    labels: [],
    written: 'read',
  },
  loopDelayP99: {
    kind: 'gauge',
    name: 'nodejs.eventloop.delay.p99',
    unit: 's',
    description: 'How late the latest hundredth of timers was, over the last minute.',
    labels: [],
    written: 'read',
  },
  loopUtilization: {
    kind: 'gauge',
    name: 'nodejs.eventloop.utilization',
    unit: '1',
    description: 'Share of the last minute that the event loop was busy.',
    labels: [],
    written: 'read',
  },
} as const satisfies Record<string, Instrument>;

type Instruments = typeof instruments;
/** The key of a metric in the list. */
export type MetricKey = keyof Instruments;
type KeyOf<Kind extends Instrument['kind']> = {
  [Key in MetricKey]: Instruments[Key]['kind'] extends Kind ? Key : never;
}[MetricKey];

/** A value that is asked for when somebody reads the metrics; one for each label. */
export type Reading = readonly [values: LabelValues, value: number];

type Reader = () => Iterable<Reading> | Promise<Iterable<Reading>>;

/** A series of a metric. */
export type Series = readonly [values: LabelValues | 'overflow', value: number | Histogram];

/** All metrics of one gateway. */
export class Metrics {
  readonly #counters = new Map<MetricKey, Family<Counter>>();
  readonly #histograms = new Map<MetricKey, Family<Histogram>>();
  readonly #readers = new Map<MetricKey, Reader>();
  /** When counting began, in milliseconds since 1970. */
  readonly since = Date.now();

  constructor() {
    for (const [key, instrument] of Object.entries(instruments) as [MetricKey, Instrument][]) {
      const { kind, boundaries = [] } = instrument;
      if (kind === 'histogram') this.#histograms.set(key, new Family(() => new Histogram(boundaries)));
      else if (kind === 'counter') this.#counters.set(key, new Family(() => new Counter()));
    }
  }

  counter(key: KeyOf<'counter'>): Family<Counter> {
    return this.#counters.get(key) as Family<Counter>;
  }

  histogram(key: KeyOf<'histogram'>): Family<Histogram> {
    return this.#histograms.get(key) as Family<Histogram>;
  }

  /** Have a value read from where it is kept, each time that the metrics are read. The latest reader of a metric counts. */
  read(key: KeyOf<'gauge' | 'counter'>, reader: Reader): void {
    this.#readers.set(key, reader);
  }

  /** What a metric has now, whatever its kind. */
  async valuesOf(key: MetricKey): Promise<readonly Series[]> {
    const reader = this.#readers.get(key);
    const read = reader ? [...(await reader())].slice(0, MOST_SERIES) : [];
    const counters = this.#counters.get(key);
    if (counters) return [...read, ...[...counters.entries()].map(([values, { value }]): Series => [values, value])];
    if (reader) return read;
    return [...(this.#histograms.get(key)?.entries() ?? [])];
  }
}
