import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type CompletionRequest, RoutingStrategy } from '../gen/llmgateway/v1/completion_pb.ts';
import type { Config } from '../gen/llmgateway/v1/config_pb.ts';
import type { EmbeddingRequest } from '../gen/llmgateway/v1/embedding_service_pb.ts';
import { authenticator } from './admission/authenticate.ts';
import { unpricedTargets } from './admission/budget.ts';
import { callLimits } from './admission/call-limits.ts';
import { refuseBroken, warmUpChecks } from './admission/check-request.ts';
import { InFlight } from './admission/in-flight.ts';
import { Leases } from './admission/leases.ts';
import { usageReports } from './admission/usage-report.ts';
import { stateOf } from './attempt/describe-breaker.ts';
import { failureOf } from './attempt/failure.ts';
import type { Plan } from './attempt/first-to-commit.ts';
import { Guards } from './attempt/guards.ts';
import { breakerControls } from './attempt/operator.ts';
import type { CallContext } from './completion.ts';
import { ConfigError, type LoadedConfig } from './config.ts';
import { type Gateway, paths } from './gateway.ts';
import { createProvider } from './providers/registry.ts';
import type { Target } from './providers/target.ts';
import { trustAlso } from './providers/trust.ts';
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
  callPolicies,
  guardSettings,
  keyFrom,
  kindsByName,
  limitsFrom,
  listsFrom,
  milliseconds,
  modelFrom,
  providerFrom,
  providerLimits,
  routeFrom,
  storesFrom,
  totalTime,
} from './settings.ts';
import { openStores, type Stores } from './store/open-stores.ts';
import { dayTeller } from './store/usage.ts';
import { callWriter } from './telemetry/logger.ts';
import { CallCounts } from './telemetry/observe.ts';
import { addressReader } from './transport/client-address.ts';
import { createHandler } from './transport/handler.ts';
import { createRestHandler } from './transport/rest/rest.ts';
import { createServer } from './transport/server.ts';

/** A gateway, put together and ready to listen. */
export interface App {
  /** The core, for tests that need no door. */
  readonly gateway: Gateway;
  /** Whether anyone may call. */
  readonly openMode: boolean;
  /** Take calls, and tell where. */
  listen(): Promise<{ address: string; port: number }>;
  /** Names of the providers that serve now. */
  providerNames(): readonly string[];
  /** Calls being carried out. */
  inFlight(): number;
  /** Say that we are not ready, let calls in flight finish, and close. */
  drain(): Promise<void>;
  /** Close at once. */
  close(): Promise<void>;
}

/** What a gateway is built with, beside its configuration. */
export interface AppOptions {
  readonly log: Logger;
  readonly version: string;
}

/** The start does not wait longer than this to learn whether an Ollama answers. */
const DETECTION_AT_START_MS = 500;
/** What is left of answers, once the calls are over, gets this long to be sent. */
const LAST_ANSWERS_MS = 500;
const WRITE_STALL_MS = 60_000;
const MAX_CONCURRENT_STREAMS = 100;
/** What a process that was killed held of its callers' limits is theirs again after this. */
const LEASE_MS = 20_000;
/** A lease outlasts three rounds: one that a store misses is no loss. */
const LEASE_ROUND_MS = 5_000;

/** Build every part once and wire them. Nothing listens yet, and nobody has been asked for more than a sign of life. */
export async function buildApp(loaded: LoadedConfig, { log, version }: AppOptions): Promise<App> {
  const { config } = loaded;
  checkBudgets(loaded);
  warmUpChecks();
  trustAuthorities(loaded, log);
  const fleet = fleetOf(loaded);
  const inFlight = new InFlight(config.server?.maxInFlight ?? Number.POSITIVE_INFINITY);
  const stores = await openStores(storesFrom(config, LEASE_MS), log);
  const leases = new Leases(stores.limits, LEASE_ROUND_MS);
  const { gateway, askProviders } = gatewayOf(config, { fleet, inFlight, stores, leases }, { log, version });
  const keys = config.keys.map(keyFrom);
  const dependencies = {
    gateway,
    authenticate: authenticator(keys, loaded.adminKeySha256),
    addressOf: addressReader(config.server?.trustedProxies ?? []),
    log,
    bodyLimitBytes: config.server?.bodyLimitBytes ?? 0,
    writeStallMs: WRITE_STALL_MS,
    draining: () => inFlight.draining,
  };
  const handler = createHandler(
    { ...dependencies, corsOrigins: config.server?.corsOrigins ?? [] },
    createRestHandler(dependencies),
  );
  const server = createServer({
    host: config.server?.host ?? '',
    port: config.server?.port ?? 0,
    ...tlsOf(config),
    handler,
    limits: {
      headerTimeoutMs: milliseconds(config.server?.headerTimeout),
      requestTimeoutMs: milliseconds(config.server?.requestTimeout),
      firstByteTimeoutMs: milliseconds(config.server?.headerTimeout),
      maxConcurrentStreams: MAX_CONCURRENT_STREAMS,
    },
    log,
  });
  await fleet.detect(DETECTION_AT_START_MS);
  const detection = setInterval(
    () => void fleet.detect(milliseconds(config.healthProbe?.timeout)),
    milliseconds(config.healthProbe?.interval),
  );
  detection.unref();
  const endProbes = probeHealth({
    intervalMs: milliseconds(config.healthProbe?.interval),
    ask: askProviders,
    random: Math.random,
  });

  const close = async () => {
    clearInterval(detection);
    endProbes();
    await server.close();
    await fleet.close();
    leases.close();
    await stores.close();
  };
  return {
    gateway,
    openMode: keys.length === 0,
    listen: () => server.listen(),
    providerNames: () => fleet.serving().map(({ name }) => name),
    inFlight: () => inFlight.count,
    async drain() {
      const began = performance.now();
      const allowedMs = milliseconds(config.server?.drainTimeout);
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

function fleetOf({ config, ollama, network }: LoadedConfig): Fleet {
  const connectTimeoutMs = milliseconds(config.timeouts?.connect);
  return new Fleet({
    providers: config.providers.map((provider) => createProvider(providerFrom(provider, connectTimeoutMs, network))),
    enabled: new Set(
      config.providers.map(({ name }) => name).filter((name) => !(ollama === 'detect' && name === 'ollama')),
    ),
    demo: createProvider({ name: 'demo', kind: 'demo', connectTimeoutMs }),
  });
}

function tlsOf({ server }: Config): { tls?: { cert: Buffer; key: Buffer } } {
  if (!server?.tls) return {};
  return { tls: { cert: readFileSync(server.tls.certFile), key: readFileSync(server.tls.keyFile) } };
}

type Request = CompletionRequest | EmbeddingRequest;

interface Core {
  readonly gateway: Gateway;
  /** Ask every provider that was not asked for so many milliseconds whether it is well. */
  readonly askProviders: (olderThanMs: number) => Promise<void>;
}

/** What the core is made of, beside its configuration. */
interface CoreParts {
  readonly fleet: Fleet;
  readonly inFlight: InFlight;
  readonly stores: Stores;
  readonly leases: Leases;
}

/** The core: names to targets, targets to answers, and what is told of both. */
function gatewayOf(config: Config, parts: CoreParts, { log, version }: AppOptions): Core {
  const { fleet, inFlight, stores, leases } = parts;
  const began = performance.now();
  const counts = new CallCounts();
  const observations = new Observations();
  const routes = config.routes.map(routeFrom);
  const guards = new Guards({
    settings: guardSettings(config),
    limitsOf: providerLimits(config),
    recordOf: (provider, model) => observations.attemptsAt(provider, model),
    clock: { now: () => performance.now(), wall: Date.now, random: Math.random },
  });
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
  const planOf = (resolved: Resolved, request: Request, { streaming }: CallContext): Plan => {
    const admits = (target: Target) => guardOf(target).refusal() === undefined;
    return { ...policyOf(resolved.route, request), targets: router.order(resolved, request, { streaming, admits }) };
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

  const gateway: Gateway = {
    ...usageReports({ usage: stores.usage, limits: stores.limits, budgets: limits.budgets, now: Date.now }),
    ...paths({
      counts,
      writeCall: callWriter(log),
      inFlight,
      heartbeatMs: milliseconds(config.timeouts?.heartbeat),
      totalMs: totalTime(config, routes),
      limits: { store: stores.limits, demandOf, leases },
      usage: {
        store: stores.usage,
        promptTokensOf: (request) => needOf(request).promptTokens,
        day: dayTeller(Date.now),
      },
      planFor(request, context) {
        const resolved = router.resolve(request, context.principal);
        return resolved instanceof Promise
          ? resolved.then((known) => planOf(known, request, context))
          : planOf(resolved, request, context);
      },
      guardOf,
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
        uptimeMs: performance.now() - began,
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
  };
  return { gateway, askProviders: (olderThanMs) => catalogue.refreshOlder(olderThanMs) };
}
