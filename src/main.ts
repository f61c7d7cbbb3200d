#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { type App, buildApp, checkBudgets } from './app.ts';
import {
  ConfigError,
  type ConfigSources,
  describeConfig,
  formatProblems,
  type LoadedConfig,
  loadConfig,
  tiersOf,
} from './config.ts';
import { BadWishes, createKey, type KeyWishes } from './create-key.ts';
import { checkHealth, type Listener } from './healthcheck.ts';
import { logLevel } from './settings.ts';
import { type Log, openLog } from './telemetry/logger.ts';
import { watchFile } from './watch-file.ts';

/** `EX_CONFIG` of sysexits.h: something in the configuration is wrong. */
const EXIT_CONFIG = 78;
/** What a command line is answered with that cannot be read. */
const EXIT_USAGE = 2;
/** How often the configuration file is looked at. */
const WATCH_EVERY_MS = 1000;
/** What the last lines of the log get, when nobody reads them. */
const LAST_LINES_MS = 1000;

const usage = `usage: llm-gateway [--config FILE]     serve; without a file, with defaults and the environment
       llm-gateway check [FILE]        say what a configuration means, or all that is wrong with it
       llm-gateway healthcheck         exit 0 if the gateway on this machine is ready (for container health checks)
       llm-gateway keys create NAME [--tier TIER] [--models a,b] [--expires TIME | DURATION] [--admin]
                                       print a new key, and its entry for the configuration file
       llm-gateway --version | --help`;

/** Options that only `keys create` has. */
const keyOptions = {
  tier: { type: 'string' },
  models: { type: 'string' },
  expires: { type: 'string' },
  admin: { type: 'boolean' },
} as const;

async function main(): Promise<void> {
  const { values, positionals } = readArguments();
  const [command, file, ...surplus] = positionals;
  const { config, help, version: asksVersion, ...wishes } = values;
  if (help) return console.log(usage);
  if (asksVersion) return console.log(version());
  if (command === 'keys') {
    const [name, ...more] = surplus;
    if (file !== 'create' || name === undefined || more.length > 0) return refuse(usage);
    return printKey({ name, ...wishes }, config ?? (process.env.GATEWAY_CONFIG || undefined));
  }
  const configFile = config ?? file ?? (process.env.GATEWAY_CONFIG || undefined);
  if (surplus.length === 0 && Object.keys(wishes).length === 0) {
    if (command === undefined) return serve(load(configFile), configFile);
    if (command === 'check') return console.log(describeConfig(load(configFile)));
    if (command === 'healthcheck' && file === undefined)
      return exitWith(await checkHealth(listenerOf(load(configFile))));
  }
  refuse(usage);
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { config: { type: 'string' }, help: { type: 'boolean' }, version: { type: 'boolean' }, ...keyOptions },
    });
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    process.exit(EXIT_USAGE);
  }
}

function refuse(message: string): void {
  console.error(message);
  exitWith(EXIT_USAGE);
}

function printKey(wishes: KeyWishes, configFile: string | undefined): void {
  const tiers = orEnd(() => tiersOf(sourcesOf(configFile)), configFile);
  try {
    const { key, yaml } = createKey(wishes, tiers, Date.now());
    console.log(`${key}\n\nThe key is shown this once. Its entry for the configuration file:\n\nkeys:\n${yaml}`);
  } catch (error) {
    if (!(error instanceof BadWishes)) throw error;
    refuse(error.problems.join('\n'));
  }
}

function listenerOf({ config }: LoadedConfig): Listener {
  return { port: config.server?.port ?? 0, tls: config.server?.tls !== undefined };
}

function version(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;
}

function exitWith(code: number): void {
  process.exitCode = code;
}

function sourcesOf(file: string | undefined): ConfigSources {
  return { ...(file !== undefined && { file }), environment: process.env };
}

function load(file: string | undefined): LoadedConfig {
  return orEnd(() => {
    const loaded = loadConfig(sourcesOf(file));
    checkBudgets(loaded);
    return loaded;
  }, file);
}

/** What is read from a configuration; one that cannot be used ends the process. */
function orEnd<Read>(read: () => Read, file: string | undefined): Read {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(formatProblems(error, file));
    process.exit(EXIT_CONFIG);
  }
}

/** What the SDK only does when it is told to. */
function setTracingDefaults(environment: NodeJS.ProcessEnv): void {
  // It counts the spans that it drops.
  environment.OTEL_NODE_EXPERIMENTAL_SDK_METRICS ??= 'true';
  // In milliseconds. Its 5 s are long for whoever looks for the call just made.
  environment.OTEL_BSP_SCHEDULE_DELAY ??= '1000';
}

/**
 * Keep V8 from making the objects of a call among the old ones at once.
 *
 * It does so where most objects of one line of code have outlived a collection of the young ones, as those do that wait for a
 * provider. But they all die with their call, and each keeps alive whatever young objects it knows of until all old ones are looked at:
 * 3 MB at each collection, 10 of 140 µs of CPU a call. Whether it came to that was decided by chance, in the first seconds of a process.
 */
function keepCallsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

async function serve(loaded: LoadedConfig, configFile: string | undefined): Promise<void> {
  keepCallsYoung();
  const log = openLog(logLevel(loaded));
  const { logger } = log;
  const again = () => loadConfig({ ...sourcesOf(configFile), again: true });
  if (loaded.telemetry.traces) setTracingDefaults(process.env);
  const app = await buildApp(loaded, { log: logger, version: version(), load: again, droppedLines: log.dropped });
  for (const notice of loaded.notices) logger.warn(notice);
  if (app.openMode) logger.warn('no API key is configured: anyone may call, and admin routes are open too');
  reloadOnChange(app, configFile);
  endOnSignals(app, log);
  try {
    const { address, port } = await app.listen();
    logger.info({ address, port, providers: app.providerNames(), version: version() }, 'listening');
  } catch (error) {
    logger.fatal({ error: String(error) }, 'cannot listen');
    await app.close();
    exitWith(1);
  }
  await log.flush();
}

/** SIGHUP and a changed file have the configuration loaded again. */
function reloadOnChange(app: App, configFile: string | undefined): void {
  process.on('SIGHUP', () => void app.reload('SIGHUP'));
  if (configFile !== undefined) watchFile(configFile, () => void app.reload('the file has changed'), WATCH_EVERY_MS);
}

/** SIGTERM and SIGINT drain; a second one ends at once. A bug that nobody caught drains too, and ends with 1. */
function endOnSignals(app: App, log: Log): void {
  let ending = false;
  const end = (why: string, code: number) => {
    if (ending) process.exit(code || 1);
    ending = true;
    log.logger.info({ why, in_flight: app.inFlight() }, 'draining');
    app.drain().then(
      () => finish(code),
      (error: unknown) => {
        log.logger.error({ error: String(error) }, 'drain failed');
        finish(1);
      },
    );
  };
  const finish = async (code: number) => {
    log.logger.info('stopped');
    await Promise.race([log.flush(), pause(LAST_LINES_MS)]);
    process.exit(code);
  };
  process.on('SIGTERM', () => end('SIGTERM', 0));
  process.on('SIGINT', () => end('SIGINT', 0));
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      log.logger.fatal({ error: error instanceof Error ? error.stack : String(error) }, event);
      end(event, 1);
    });
  }
}

await main();
