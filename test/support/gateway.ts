import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino, { type Logger } from 'pino';
import { type App, buildApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';

/** A gateway that a test runs. */
export interface TestGateway {
  readonly url: string;
  readonly port: number;
  /** Every log line so far. */
  readonly lines: readonly Record<string, unknown>[];
  close(): Promise<void>;
}

/** A configuration in the words of the YAML file: JSON is YAML. */
export type ConfigFile = Record<string, unknown>;

/**
 * Nothing of this machine leaks in: no keys, no Ollama that happens to run. And tests make more calls than a caller without a key
 * may; those that are about limits unset the variable.
 */
export const bareEnvironment: Record<string, string> = {
  ENABLE_OLLAMA: 'false',
  DEFAULT_RATE_LIMIT_CAPACITY: '1000000',
};

function withFreePort(config: ConfigFile): ConfigFile {
  const server = { host: '127.0.0.1', port: 0, ...(config.server as object | undefined) };
  return { ...config, server };
}

/** Write a configuration to a file of its own for as long as `use` takes. */
async function withConfigFile<Result>(config: ConfigFile, use: (file: string) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
  const file = join(folder, 'gateway.yaml');
  writeFileSync(file, JSON.stringify(withFreePort(config), null, 1));
  try {
    return await use(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Start a whole gateway in this process, on a free port. */
export function startGateway(
  config: ConfigFile,
  environment: Record<string, string> = {},
): Promise<TestGateway & { readonly app: App }> {
  return withConfigFile(config, async (file) => {
    const loaded = loadConfig({ file, environment: { ...bareEnvironment, ...environment } });
    const lines: Record<string, unknown>[] = [];
    const app = await buildApp(loaded, { log: logInto(lines), version: '0.0.0-test' });
    const { port } = await app.listen();
    return { app, port, url: `http://127.0.0.1:${port}`, lines, close: () => app.close() };
  });
}

function logInto(lines: Record<string, unknown>[]): Logger {
  return pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
}

/** A gateway that runs as users run it: a process of its own. */
export interface GatewayProcess extends TestGateway {
  readonly process: ChildProcess;
  readonly pid: number;
  /** Resolves with the exit code once it has ended. */
  readonly ended: Promise<number | null>;
}

/** Start a gateway as a process, on a free port. `wrapper` is a command that starts the command which follows it. */
export function startGatewayProcess(
  config: ConfigFile,
  environment: Record<string, string> = {},
  wrapper: readonly string[] = [],
): Promise<GatewayProcess> {
  return withConfigFile(config, (file) => runGateway(file, environment, wrapper));
}

/** Start a gateway as a process, with a configuration file that the test keeps. */
export function runGateway(
  file: string,
  environment: Record<string, string> = {},
  wrapper: readonly string[] = [],
): Promise<GatewayProcess> {
  const main = new URL('../../src/main.ts', import.meta.url).pathname;
  const [command = '', ...args] = [...wrapper, process.execPath, main, '--config', file];
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH, ...bareEnvironment, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const lines: Record<string, unknown>[] = [];
  return new Promise<GatewayProcess>((resolve, reject) => {
    let rest = '';
    let errors = '';
    child.stderr.on('data', (data) => {
      errors += data;
    });
    child.stdout.on('data', (data) => {
      const parts = (rest + data).split('\n');
      rest = parts.pop() ?? '';
      for (const part of parts) {
        const line = JSON.parse(part);
        lines.push(line);
        if (line.msg !== 'listening') continue;
        const { port } = line;
        resolve({
          process: child,
          pid: child.pid ?? 0,
          ended,
          port,
          url: `http://127.0.0.1:${port}`,
          lines,
          async close() {
            child.kill('SIGKILL');
            await ended;
          },
        });
      }
    });
    ended.then((code) => reject(new Error(`the gateway ended with code ${code} before it listened: ${errors}`)));
  });
}
