#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type App, buildApp, checkBudgets } from './app.ts';
import { ConfigError, describeConfig, formatProblems, type LoadedConfig, loadConfig } from './config.ts';
import { checkHealth, type Listener } from './healthcheck.ts';
import { type Log, openLog } from './telemetry/logger.ts';

/** `EX_CONFIG` of sysexits.h: something in the configuration is wrong. */
const EXIT_CONFIG = 78;
/** What the last lines of the log get, when nobody reads them. */
const LAST_LINES_MS = 1000;

const usage = `usage: llm-gateway [--config FILE]     serve; without a file, with defaults and the environment
       llm-gateway check [FILE]        say what a configuration means, or all that is wrong with it
       llm-gateway healthcheck         exit 0 if the gateway on this machine is ready (for container health checks)
       llm-gateway --version | --help`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { config: { type: 'string' }, help: { type: 'boolean' }, version: { type: 'boolean' } },
  });
  const [command, file, ...surplus] = positionals;
  if (values.help) return console.log(usage);
  if (values.version) return console.log(version());
  const configFile = values.config ?? file ?? (process.env.GATEWAY_CONFIG || undefined);
  if (surplus.length === 0) {
    if (command === undefined) return serve(load(configFile));
    if (command === 'check') return console.log(describeConfig(load(configFile)));
    if (command === 'healthcheck' && file === undefined)
      return exitWith(await checkHealth(listenerOf(load(configFile))));
  }
  console.error(usage);
  exitWith(2);
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

function load(file: string | undefined): LoadedConfig {
  try {
    const loaded = loadConfig({ ...(file !== undefined && { file }), environment: process.env });
    checkBudgets(loaded);
    return loaded;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(formatProblems(error, file));
    process.exit(EXIT_CONFIG);
  }
}

async function serve(loaded: LoadedConfig): Promise<void> {
  const log = openLog(logLevel(loaded));
  const { logger } = log;
  const app = await buildApp(loaded, { log: logger, version: version() });
  for (const notice of loaded.notices) logger.warn(notice);
  if (app.openMode) logger.warn('no API key is configured: anyone may call, and admin routes are open too');
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

/** `info` unless the configuration says otherwise. */
function logLevel({ config }: LoadedConfig): string {
  const levels = ['info', 'trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
  return levels[config.telemetry?.logLevel ?? 0] ?? 'info';
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
