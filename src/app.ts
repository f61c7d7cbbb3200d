import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { getHeapStatistics } from 'node:v8';
import type { Logger } from 'pino';
import { type CompletionEvent, type CompletionRequest, RoutingStrategy } from '../gen/llmgateway/v1/completion_pb.ts';
import type { Config, JwtConfig } from '../gen/llmgateway/v1/config_pb.ts';
import type { EmbeddingRequest, EmbeddingResult } from '../gen/llmgateway/v1/embedding_service_pb.ts';
import { arrivals } from './admission/arrivals.ts';
import { authenticator } from './admission/authenticate.ts';
import { unpricedTargets } from './admission/budget.ts';
import { callLimits } from './admission/call-limits.ts';
import { refuseBroken, warmUpChecks } from './admission/check-request.ts';
import { downloadKeySet } from './admission/download-key-set.ts';
import { FailedTries, usualTryLimits } from './admission/failed-tries.ts';
import { InFlight } from './admission/in-flight.ts';
import { KeySet } from './admission/key-set.ts';
import { Leases } from './admission/leases.ts';
import { Overload } from './admission/overload.ts';
import { createTokens, type Tokens } from './admission/tokens.ts';
import { type UsageReports, usageReports } from './admission/usage-report.ts';
import { turnClock, watchLoad } from './admission/watch-load.ts';
import { stateOf } from './attempt/describe-breaker.ts';
import { failureOf } from './attempt/failure.ts';
import type { Plan } from './attempt/first-to-commit.ts';
import { Guards } from './attempt/guards.ts';
import { completions, embeddings } from './attempt/operation.ts';
import { breakerControls } from './attempt/operator.ts';
import type { AnswerStore } from './cache/answer-store.ts';
import type { CacheOptions, CacheUse } from './cache/cache.ts';
import { guardedOutcomes } from './cache/guarded-outcomes.ts';
import { MemoryCache } from './cache/memory-cache.ts';
import { MemoryOutcomes } from './cache/memory-outcomes.ts';
import { completionOutcomes, embeddingOutcomes } from './cache/outcome-form.ts';
import type { OutcomeStore } from './cache/outcome-store.ts';
import { purgeAnswers } from './cache/purge.ts';
import { RedisCache } from './cache/redis-cache.ts';
import { RedisOutcomes } from './cache/redis-outcomes.ts';
import { SingleFlight } from './cache/single-flight.ts';
import type { CallContext } from './completion.ts';
import { ConfigError, type LoadedConfig } from './config.ts';
import { type Gateway, type PathParts, paths } from './gateway.ts';
import { closeUnused, type Keep, type KeptParts, keepParts } from './kept-parts.ts';
import { newId } from './new-id.ts';
import { HttpClient } from './providers/http.ts';
import type { Provider } from './providers/provider.ts';
import { proxyFor } from './providers/proxy.ts';
import { createProvider, type ProviderSettings } from './providers/registry.ts';
import type { Target } from './providers/target.ts';
import { trustAlso } from './providers/trust.ts';
import { createReload, type Reload, reloadFor } from './reload.ts';
import { Replaceable } from './replaceable.ts';
import { Room } from './room.ts';
import { Catalogue } from './routing/catalogue.ts';
import { explain } from './routing/explain.ts';
import { Fleet } from './routing/fleet.ts';
import { probeHealth, verdictOf } from './routing/health-probe.ts';
import { needOf } from './routing/need.ts';
import { Observations } from './routing/observations.ts';
import { mostTaken } from './routing/reserve.ts';
import type { Names } from './routing/resolve.ts';
import { type Resolved, Router } from './routing/router.ts';
import { describeModels, describeProvider, judgeHealth } from './routing/status.ts';
import {
  attemptLimits,
  budgetedKeys,
  cachePolicies,
  cachesAnything,
  callerRanks,
  callPolicies,
  guardSettings,
  issuerFrom,
  keyFrom,
  kindsByName,
  limitsFrom,
  listsFrom,
  logLevel,
  milliseconds,
  modelFrom,
  namesModel,
  overloadSettings,
  providerFrom,
  providerLimits,
  providerNames,
  routeFrom,
  storesFrom,
  strategyName,
  totalTime,
} from './settings.ts';
import { openStores, type Stores } from './store/open-stores.ts';
import { dayTeller } from './store/usage.ts';
import { CacheCounts } from './telemetry/cache-counts.ts';
import type { TargetName } from './telemetry/call-trace.ts';
import type { Insight } from './telemetry/insight.ts';
import { CallCounts } from './telemetry/observe.ts';
import { countCircuits, readGateway } from './telemetry/read-gateway.ts';
import { readStores, timeCommands } from './telemetry/read-stores.ts';
import { ShedCounts } from './telemetry/shed-counts.ts';
import { startTelemetry, type Telemetry } from './telemetry/telemetry.ts';
import type { DoorDependencies } from './transport/call.ts';
import { addressReader } from './transport/client-address.ts';
import { connectionLimit } from './transport/file-descriptors.ts';
import { createHandler } from './transport/handler.ts';
import { createRestHandler } from './transport/rest/rest.ts';
import { createServer, type RequestHandler } from './transport/server.ts';

/** A gateway, put together and ready to listen. */
export interface App {
  /** The core, for tests that need no door. */
  readonly gateway: Gateway;
  /** Whether anyone may call, at this moment. */
  readonly openMode: boolean;
  /** Take calls, and tell where. */
  listen(): Promise<{ address: string; port: number }>;
  /** Names of the providers that serve now. */
  providerNames(): readonly string[];
  /** Calls being carried out. */
  inFlight(): number;
  /** Load the configuration again and go over to it. One that cannot be used changes nothing. */
  readonly reload: Reload;
  /** Say that we are not ready, let calls in flight finish, and close. */
  drain(): Promise<void>;
  /** Close at once. */
  close(): Promise<void>;
}

/** What a gateway is built with, beside its configuration. */
export interface AppOptions {
  readonly log: Logger;
  readonly version: string;
  /** Loads the configuration again, for a reload; throws a ConfigError. The default is the one that the gateway was built with. */
  readonly load?: (() => LoadedConfig) | undefined;
  /** How many lines of the log were lost because nobody read them. */
  readonly droppedLines?: () => number;
}

/** The start does not wait longer than this to learn whether an Ollama answers. */
const DETECTION_AT_START_MS = 500;
/** What is left of answers, once the calls are over, gets this long to be sent. */
const LAST_ANSWERS_MS = 500;
const WRITE_STALL_MS = 60_000;
const MAX_CONCURRENT_STREAMS = 100;
/** Two seconds: three thousand calls that come at once are worked off in less. */
const LATE_SAMPLES = 8;
/** Of all connections, for callers whose refusals are told late. */
const HELD_CONNECTIONS = 1 / 2;
/** What a process that was killed held of its callers' limits is theirs again after this. */
const LEASE_MS = 20_000;
/** A lease outlasts three rounds: one that a store misses is no loss. */
const LEASE_ROUND_MS = 5_000;
/** The most bytes of all answers together that are being recorded for the cache and for retries. */
const RECORDED_BYTES = 32 * 1024 * 1024;
/** Of the heap, for all answers together that are held back until they are whole. */
const HELD_SHARE = 1 / 8;
/** A process that is paused for longer than this while it carries out a call may see another one carry it out, too. */
const CLAIM_LEASE_MS = 10_000;

/** What is counted and learnt as long as the process lives, whatever becomes of the configuration: all of it by name. */
interface Lasting {
  readonly beganAt: number;
  readonly version: string;
  readonly log: Logger;
  readonly inFlight: InFlight;
  readonly counts: CallCounts;
  readonly observations: Observations;
  readonly guards: Guards;
  readonly failedTries: FailedTries;
  readonly stores: Stores;
  readonly leases: Leases;
  readonly telemetry: Telemetry;
  readonly repeats: Repeats;
  readonly held: Room;
  readonly overload: Overload;
  readonly shed: ShedCounts;
}

/** What is kept of calls for those like them. */
interface Repeats {
  readonly counts: CacheCounts;
  readonly answers: AnswerStore;
  readonly outcomes: OutcomeStore;
  /** What is kept in this process, which has bounds. */
  readonly own: { readonly answers: MemoryCache; readonly outcomes: MemoryOutcomes };
  /** Shared by all answers that are put together to be kept. */
  readonly room: Room;
  readonly flights: {
    readonly answers: SingleFlight<CompletionEvent>;
    readonly completions: SingleFlight<CompletionEvent>;
    readonly embeddings: SingleFlight<EmbeddingResult>;
  };
}

/** What one configuration makes. A request runs on one of these from its first line to the last of its answer. */
interface Snapshot {
  readonly loaded: LoadedConfig;
  readonly fleet: Fleet;
  readonly catalogue: Catalogue;
  readonly gateway: Gateway;
  readonly reports: UsageReports;
  readonly openMode: boolean;
  readonly handler: RequestHandler;
  /** What the next configuration may use on. */
  readonly parts: KeptParts;
}

/** What a snapshot has to know of those that will follow it. */
interface Current {
  readonly gateway: () => Gateway;
  readonly reload: DoorDependencies['reload'];
  readonly insight: Insight;
}

/** Build every part once and wire them. Nothing listens yet, and nobody has been asked for more than a sign of life. */
export async function buildApp(loaded: LoadedConfig, options: AppOptions): Promise<App> {
  const { log, version, load, droppedLines = () => 0 } = options;
  checkBudgets(loaded);
  warmUpChecks();
  trustAuthorities(loaded, log);
  const telemetry = await startTelemetry({
    log,
    version,
    settings: () => live.current.loaded.config.telemetry,
    ...loaded.telemetry,
  });
  const lasting = await lastingOf(loaded, log, version, telemetry);
  const { inFlight, guards, leases, stores, overload, repeats, shed } = lasting;
  const told = {
    providers: () => live.current.gateway.listProviders(),
    circuitsOf: (provider: string) => live.current.gateway.circuitBreakerOf(provider).models,
    activeCalls: () => inFlight.count,
    connections: () => server.connections(),
    droppedLines,
    reloads: () => reload.counts,
    shed,
  };
  const insight = telemetry.insight({
    ...told,
    providers: () => live.current.fleet.serving().map(({ name }) => name),
  });
  readGateway(telemetry.metrics, telemetry.names, told);
  readStores(telemetry.metrics, {
    redisUp: stores.redisUp,
    budgets: () => live.current.reports.budgetsOf(''),
    cacheCounts: repeats.counts,
    memoryCache: stores.redis ? undefined : repeats.own.answers,
  });
  const build = (from: LoadedConfig, before?: Snapshot) =>
    snapshotOf(from, lasting, before, {
      gateway: () => live.current.gateway,
      reload: () => reloadFor(reload, 'an administrator'),
      insight,
    });
  const live: Replaceable<Snapshot> = new Replaceable(build(loaded), (old, inUse) => {
    closeUnused(old.parts, partsOf(inUse)).catch((error: unknown) => {
      log.warn({ error: String(error) }, 'connections of an old configuration could not be closed');
    });
  });
  const server = createServer({
    ...listenerSettings(loaded.config),
    handler(request, response) {
      const { value, release } = live.take();
      response.on('close', release);
      value.handler(request, response);
    },
    log,
  });
  nameTargets(telemetry, live);
  await live.current.fleet.detect(DETECTION_AT_START_MS);
  const endLoadWatch = watchLoad((load) => overload.sample(load));
  let endWatch = watchProviders(live);

  const apply = async (next: LoadedConfig): Promise<void> => {
    const before = live.current;
    const snapshot = build(next, before);
    await snapshot.fleet.detect(DETECTION_AT_START_MS);
    inFlight.limit = maxInFlight(next);
    overload.configure(overloadSettings(next.config));
    bound(repeats.own, next.config);
    guards.configure(guardSettings(next.config), providerLimits(next.config));
    const level = logLevel(next);
    if (level !== logLevel(before.loaded)) log.level = level;
    live.replace(snapshot);
    nameTargets(telemetry, live);
    if (!isDeepStrictEqual(next.config.healthProbe, before.loaded.config.healthProbe)) {
      endWatch();
      endWatch = watchProviders(live);
    }
    if (snapshot.openMode !== before.openMode) log.info('keys are wanted from now on');
  };
  const loadAgain = (): LoadedConfig => {
    const next = load?.() ?? loaded;
    checkBudgets(next);
    return next;
  };
  const reload: Reload = createReload({ load: loadAgain, current: () => live.current.loaded, apply, log });

  const close = async () => {
    endWatch();
    endLoadWatch();
    await server.close();
    // Each part by the last that has it.
    const all = live.all();
    await Promise.all(all.map(({ parts }, at) => closeUnused(parts, partsOf(all.slice(at + 1)))));
    leases.close();
    await stores.close();
    await telemetry.close();
  };
  return {
    gateway: newest(() => live.current.gateway),
    get openMode() {
      return live.current.openMode;
    },
    listen: () => server.listen(),
    providerNames: () => live.current.fleet.serving().map(({ name }) => name),
    inFlight: () => inFlight.count,
    reload,
    async drain() {
      const began = performance.now();
      const allowedMs = milliseconds(live.current.loaded.config.server?.drainTimeout);
      inFlight.draining = true;
      // The port stays open while calls run, so that balancers can see that we are not ready.
      const patience = new AbortController();
      const patient = pause(allowedMs, undefined, { signal: patience.signal }).catch(() => {});
      await Promise.race([inFlight.idle(), patient]);
      patience.abort();
      await server.drain(Math.max(LAST_ANSWERS_MS, allowedMs - (performance.now() - began)));
      await close();
    },
    close,
  };
}

async function lastingOf(loaded: LoadedConfig, log: Logger, version: string, telemetry: Telemetry): Promise<Lasting> {
  const { config } = loaded;
  const observations = new Observations();
  const stores = await openStores(storesFrom(config, LEASE_MS), log, timeCommands(telemetry.metrics));
  return {
    beganAt: performance.now(),
    version,
    log,
    inFlight: new InFlight(maxInFlight(loaded)),
    counts: new CallCounts(),
    observations,
    guards: new Guards({
      settings: guardSettings(config),
      limitsOf: providerLimits(config),
      recordOf: (provider, model) => observations.attemptsAt(provider, model),
      clock: { now: () => performance.now(), wall: Date.now, random: Math.random },
      onChange: countCircuits(telemetry.metrics, telemetry.windows, telemetry.names),
    }),
    failedTries: new FailedTries(usualTryLimits),
    stores,
    leases: new Leases(stores.limits, LEASE_ROUND_MS),
    telemetry,
    repeats: repeatsOf(config, stores),
    held: new Room(getHeapStatistics().heap_size_limit * HELD_SHARE),
    overload: new Overload({
      ...overloadSettings(config),
      lateSamples: LATE_SAMPLES,
      intoTurnMs: turnClock(),
      random: Math.random,
    }),
    shed: new ShedCounts(),
  };
}

/** Answers and outcomes are in Redis where there is one: then all replicas have them. Flights are those of this process. */
function repeatsOf(config: Config, { redis }: Stores): Repeats {
  const keyPrefix = config.state?.keyPrefix ?? '';
  const own = { answers: new MemoryCache({ maxBytes: 0 }), outcomes: new MemoryOutcomes({ maxBytes: 0 }) };
  bound(own, config);
  return {
    counts: new CacheCounts(),
    own,
    answers: redis ? new RedisCache({ redis, keyPrefix }) : own.answers,
    outcomes: redis
      ? guardedOutcomes(new RedisOutcomes({ redis, keyPrefix, leaseMs: CLAIM_LEASE_MS }), own.outcomes)
      : own.outcomes,
    room: new Room(RECORDED_BYTES),
    flights: {
      answers: new SingleFlight(completions),
      completions: new SingleFlight(completions),
      embeddings: new SingleFlight(embeddings),
    },
  };
}

function bound({ answers, outcomes }: Repeats['own'], { cache, idempotency }: Config): void {
  answers.maxBytes = cache?.maxBytes ?? 0;
  outcomes.maxBytes = idempotency?.maxBytes ?? 0;
}

/** Name providers and models in metrics and traces as the configuration does that is in use. */
function nameTargets({ names }: Telemetry, live: Replaceable<Snapshot>): void {
  const { config } = live.current.loaded;
  const isConfigured = namesModel(config);
  names.configure(
    providerNames(config),
    (name, model) => {
      if (isConfigured(name, model)) return true;
      const { fleet, catalogue } = live.current;
      const provider = fleet.serving().find((each) => each.name === name);
      return provider !== undefined && catalogue.has(provider, model);
    },
    new Set(['anonymous', 'admin', ...config.keys.map((key) => key.name)]),
  );
}

function maxInFlight({ config }: LoadedConfig): number {
  return config.server?.maxInFlight ?? Number.POSITIVE_INFINITY;
}

function partsOf(snapshots: readonly Snapshot[]): KeptParts[] {
  return snapshots.map(({ parts }) => parts);
}

/** Look again and again for providers that may be there or not, and ask all whether they are well; the result ends it. */
function watchProviders(live: Replaceable<Snapshot>): () => void {
  const { healthProbe } = live.current.loaded.config;
  const intervalMs = milliseconds(healthProbe?.interval);
  const timeoutMs = milliseconds(healthProbe?.timeout);
  const detection = setInterval(() => void live.current.fleet.detect(timeoutMs), intervalMs);
  detection.unref();
  const endProbes = probeHealth({
    intervalMs,
    ask: (olderThanMs) => live.current.catalogue.refreshOlder(olderThanMs),
    random: Math.random,
  });
  return () => {
    clearInterval(detection);
    endProbes();
  };
}

/**
 * Build what one configuration makes, with what it can use on of the one before.
 *
 * Those who look on for longer than a configuration may last are told of the newest.
 */
function snapshotOf(loaded: LoadedConfig, lasting: Lasting, before: Snapshot | undefined, current: Current): Snapshot {
  const { config } = loaded;
  const { log, inFlight, overload, shed, failedTries } = lasting;
  const { parts, keep } = keepParts(before?.parts);
  try {
    const fleet = fleetOf(loaded, keep);
    const { gateway, catalogue, reports } = gatewayOf(config, fleet, lasting);
    if (before) catalogue.takeOver(before.catalogue);
    const keys = config.keys.map(keyFrom);
    const tokens = tokensOf(loaded, log, keep);
    const dependencies = {
      gateway: { ...gateway, ...lookingOn(current.gateway) },
      authenticate: authenticator({ keys, adminKeySha256: loaded.adminKeySha256, tokens, failedTries }),
      addressOf: addressReader(config.server?.trustedProxies ?? []),
      arrive: arrivals({
        inFlight,
        overload,
        ranks: callerRanks(config),
        counts: shed,
        mostHeld: connectionLimit() * HELD_CONNECTIONS,
      }),
      log,
      bodyLimitBytes: config.server?.bodyLimitBytes ?? 0,
      writeStallMs: WRITE_STALL_MS,
      draining: () => inFlight.draining,
      reload: current.reload,
      requests: lasting.telemetry.requests,
      insight: current.insight,
    };
    const handler = createHandler(
      { ...dependencies, corsOrigins: config.server?.corsOrigins ?? [] },
      createRestHandler(dependencies),
    );
    const openMode = keys.length === 0 && !tokens;
    return { loaded, fleet, catalogue, gateway, reports, openMode, handler, parts };
  } catch (error) {
    void closeUnused(parts, before ? [before.parts] : []);
    throw error;
  }
}

/** What tells how things are, and not what one configuration makes of them. */
function lookingOn(current: () => Gateway): Pick<Gateway, 'listProviders' | 'getHealth'> {
  return { listProviders: () => current().listProviders(), getHealth: () => current().getHealth() };
}

/** The gateway that is the newest whenever something is asked of it. */
function newest(current: () => Gateway): Gateway {
  return {
    complete: (request, context) => current().complete(request, context),
    embed: (request, context) => current().embed(request, context),
    listModels: (principal) => current().listModels(principal),
    getUsage: (filter) => current().getUsage(filter),
    explainRoute: (request, asker) => current().explainRoute(request, asker),
    purgeCache: (request) => current().purgeCache(request),
    circuitBreakerOf: (provider) => current().circuitBreakerOf(provider),
    resetCircuitBreaker: (provider, model) => current().resetCircuitBreaker(provider, model),
    setCircuitBreaker: (provider, model, hold) => current().setCircuitBreaker(provider, model, hold),
    ...lookingOn(current),
  };
}

function listenerSettings(config: Config) {
  const { server } = config;
  return {
    host: server?.host ?? '',
    port: server?.port ?? 0,
    ...tlsOf(config),
    limits: {
      headerTimeoutMs: milliseconds(server?.headerTimeout),
      requestTimeoutMs: milliseconds(server?.requestTimeout),
      firstByteTimeoutMs: milliseconds(server?.headerTimeout),
      maxConcurrentStreams: MAX_CONCURRENT_STREAMS,
      maxConnectionAgeMs: milliseconds(server?.maxConnectionAge),
      maxConnections: connectionLimit(),
    },
  };
}

/**
 * Refuse budgets that could not be kept: of keys that may call where nobody knows what a call costs.
 *
 * Throws a ConfigError. It is a matter of the configuration and the catalogue alone: nothing is asked, nothing opened.
 */
export function checkBudgets({ config }: LoadedConfig): void {
  const catalogue = new Catalogue({
    providers: () => [],
    models: config.models.map(modelFrom),
    listOf: listsFrom(config),
    freshMs: 0,
    timeoutMs: 0,
  });
  // Embeddings have no price of an answer; for completions without one the call itself is refused.
  const isPriced = (provider: string, model: string) => catalogue.factsOf(provider, model).price?.input !== undefined;
  const problems = [...unpricedTargets(budgetedKeys(config, isPriced))].map(([name, places]) => ({
    path: `keys[${config.keys.findIndex((key) => key.name === name)}].budget_usd`,
    message: `the price is unknown where this key may call: give it in models for ${places.join(', ')}, or leave these out of its models`,
  }));
  if (problems.length > 0) throw new ConfigError(problems);
}

/** A file that cannot be used is no reason to stop: OpenSSL, whose variable it is, takes none either. */
function trustAuthorities({ network }: LoadedConfig, log: Logger): void {
  if (network.caFile === undefined) return;
  try {
    trustAlso(network.caFile);
  } catch (error) {
    log.warn({ file: network.caFile, error: String(error) }, 'SSL_CERT_FILE cannot be used');
  }
}

function fleetOf({ config, ollama, network }: LoadedConfig, keep: Keep): Fleet {
  const connectTimeoutMs = milliseconds(config.timeouts?.connect);
  const build = (name: string, settings: ProviderSettings) =>
    keep(name, settings, (): Provider => createProvider(settings));
  return new Fleet({
    providers: config.providers.map((provider) =>
      build(`provider ${provider.name}`, providerFrom(provider, connectTimeoutMs, network)),
    ),
    enabled: new Set(
      config.providers.map(({ name }) => name).filter((name) => !(ollama === 'detect' && name === 'ollama')),
    ),
    demo: build('demo', { name: 'demo', kind: 'demo', connectTimeoutMs }),
  });
}

/** Who is known by tokens: the issuers of the configuration, with their keys from a file or by HTTP. Undefined: nobody. */
function tokensOf({ config, network }: LoadedConfig, log: Logger, keep: Keep): Tokens | undefined {
  if (config.jwt.length === 0) return undefined;
  const now = () => performance.now();
  const keysOf = ({ issuer, jwksUrl, jwksFile }: JwtConfig) => {
    if (jwksUrl === '') {
      const keySet = new KeySet(issuer, async () => JSON.parse(await readFile(jwksFile, 'utf8')), log, now);
      return { keySet, close: async () => {} };
    }
    const proxy = proxyFor(jwksUrl, network);
    const client = new HttpClient({ provider: `the issuer ${issuer}`, baseUrl: jwksUrl, proxy, maxConnections: 1 });
    const keySet = new KeySet(issuer, () => downloadKeySet(client, jwksUrl), log, now);
    return { keySet, close: () => client.close() };
  };
  const issuers = config.jwt.map((jwt) => {
    const { issuer, audience, jwksUrl, jwksFile } = jwt;
    const settings = { jwksUrl, jwksFile };
    return issuerFrom(jwt, keep(`issuer ${issuer} for ${audience}`, settings, () => keysOf(jwt)).keySet);
  });
  return createTokens(issuers, new Set(config.limits?.tiers.map(({ name }) => name)), log);
}

function tlsOf({ server }: Config): { tls?: { cert: Buffer; key: Buffer } } {
  if (!server?.tls) return {};
  return { tls: { cert: readFileSync(server.tls.certFile), key: readFileSync(server.tls.keyFile) } };
}

type Request = CompletionRequest | EmbeddingRequest;

/** What answers calls that were made before, or are being made. */
function repeatLayers(
  config: Config,
  router: Router,
  { repeats, overload }: Lasting,
): Pick<PathParts, 'idempotency' | 'cache'> {
  const { counts, answers, outcomes, room, flights } = repeats;
  const policyOf = cachePolicies(config);
  const useOf = ({ route, targets, preferred, strategy, fallback }: Resolved): CacheUse | undefined => {
    const policy = policyOf(route);
    return policy && { ...policy, targets, choice: `${strategy} ${fallback} ${preferred}` };
  };
  const cache: CacheOptions = {
    useFor(request, { principal }) {
      const resolved = router.resolve(request, principal);
      return resolved instanceof Promise ? resolved.then(useOf) : useOf(resolved);
    },
    store: answers,
    flights: flights.answers,
    sizeOf: completions.sizeOf,
    room,
    mayStore: () => overload.mayCache,
    counts,
    newId: () => completions.idPrefix + newId(),
  };
  const common = {
    store: outcomes,
    ttlMs: milliseconds(config.idempotency?.ttl),
    leaseMs: CLAIM_LEASE_MS,
    counts,
    random: Math.random,
  };
  return {
    idempotency: {
      completions: { ...common, flights: flights.completions, form: completionOutcomes(completions.sizeOf, room) },
      embeddings: { ...common, flights: flights.embeddings, form: embeddingOutcomes },
    },
    cache: cachesAnything(config) ? cache : undefined,
  };
}

/** The core: names to targets, targets to answers, and what is told of both. */
function gatewayOf(
  config: Config,
  fleet: Fleet,
  lasting: Lasting,
): Pick<Snapshot, 'gateway' | 'catalogue' | 'reports'> {
  const { beganAt, version, inFlight, counts, observations, guards, stores, leases, telemetry, repeats } = lasting;
  const routes = config.routes.map(routeFrom);
  const catalogue = new Catalogue({
    providers: () => fleet.serving(),
    models: config.models.map(modelFrom),
    listOf: listsFrom(config),
    freshMs: milliseconds(config.healthProbe?.interval),
    timeoutMs: milliseconds(config.healthProbe?.timeout),
    mayAsk: (provider) => guards.mayAsk(provider),
    onAsked: (provider, error) => observations.of(provider).probed(verdictOf(error)),
  });
  const names: Names = {
    get providers() {
      return fleet.serving();
    },
    routes,
    common: kindsByName,
    lists: catalogue.has.bind(catalogue),
    known: () => fleet.serving().flatMap((provider) => [...catalogue.idsOf(provider)]),
    fallback: config.routing?.fallback ?? true,
  };
  const router = new Router({
    names,
    catalogue,
    observations,
    strategy: config.routing?.defaultStrategy ?? RoutingStrategy.FAILOVER,
    limitsOf: attemptLimits(config),
    random: Math.random,
  });
  const guardOf = ({ provider, model }: Target) => guards.of(provider.name, model);
  const policyOf = callPolicies(config);
  const planOf = (resolved: Resolved, request: Request, { streaming, notes }: CallContext, sinceAt: number): Plan => {
    const admits = (target: Target) => guardOf(target).refusal() === undefined;
    const leftOut: [TargetName, string][] | undefined = notes?.trace?.sampled ? [] : undefined;
    const leaveOut = leftOut && ((target: TargetName, why: string) => leftOut.push([target, why]));
    const targets = router.order(resolved, request, { streaming, admits, ...(leaveOut && { leaveOut }) });
    const { route, strategy } = resolved;
    notes?.routed({ route: route?.model, strategy: strategyName(strategy), targets, leftOut }, sinceAt);
    return { ...policyOf(route, request), targets };
  };

  const limits = limitsFrom(config);
  const demandOf = callLimits({
    ...limits,
    reserveFor(request, { principal }) {
      const resolved = router.resolve(request, principal);
      if (!(resolved instanceof Promise)) return mostTaken(resolved.targets, needOf(request));
      return resolved.then(({ targets }) => mostTaken(targets, needOf(request)));
    },
  });

  const reports = usageReports({ usage: stores.usage, limits: stores.limits, budgets: limits.budgets, now: Date.now });
  const gateway: Gateway = {
    getUsage: reports.getUsage,
    ...paths({
      counts,
      sinks: telemetry.sinks,
      keepsContent: config.telemetry?.logPrompts ?? false,
      inFlight,
      heartbeatMs: milliseconds(config.timeouts?.heartbeat),
      totalMs: totalTime(config, routes),
      limits: { store: stores.limits, demandOf, leases },
      usage: {
        store: stores.usage,
        promptTokensOf: (request) => needOf(request).promptTokens,
        day: dayTeller(Date.now),
      },
      ...repeatLayers(config, router, lasting),
      planFor(request, context) {
        const sinceAt = performance.now();
        const resolved = router.resolve(request, context.principal);
        return resolved instanceof Promise
          ? resolved.then((known) => planOf(known, request, context, sinceAt))
          : planOf(resolved, request, context, sinceAt);
      },
      guardOf,
      held: lasting.held,
      random: Math.random,
    }),
    async listModels(principal) {
      await catalogue.refresh();
      return describeModels(routes, fleet.serving(), catalogue, principal);
    },
    listProviders: () =>
      fleet.serving().map((provider) => describeProvider(provider, observations, guards.standingOf(provider.name))),
    getHealth: () =>
      judgeHealth({
        version,
        uptimeMs: performance.now() - beganAt,
        draining: inFlight.draining,
        totalRequests: counts.total,
        providers: gateway.listProviders(),
        enabled: fleet.enabled,
      }),
    ...breakerControls(guards, () => fleet.serving().map(({ name }) => name)),
    async explainRoute(request, asker) {
      refuseBroken(request);
      return explain(request, asker, {
        router,
        observations,
        refusalOf: (target) => guardOf(target).refusal(),
        circuitStateOf: (target) => stateOf(guardOf(target).breaker.state),
        failureOf: (refused) => failureOf([], refused).reason,
      });
    },
    purgeCache: (request) => purgeAnswers(repeats.answers, request),
  };
  return { gateway, catalogue, reports };
}
