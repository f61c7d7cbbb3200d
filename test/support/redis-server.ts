import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createClient } from 'redis';

/** A Redis that a test runs. */
export interface RedisServer {
  readonly url: string;
  readonly port: number;
  readonly process: ChildProcess;
  /** Ask it something, as an administrator would. */
  command(...args: string[]): Promise<unknown>;
  /** Kill it, and resolve once it is gone. */
  kill(): Promise<void>;
  /** Kill it, and forget its files. */
  close(): Promise<void>;
}

const binary = 'redis-server';

/** Why tests with a real Redis cannot run here; undefined: they can. With CI=true it is an error not to have it. */
export const withoutRedis: string | undefined = findProblem();

function findProblem(): string | undefined {
  try {
    execFileSync(binary, ['--version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    const problem = `skipped: there is no ${binary} here (Debian: apt-get install redis-server)`;
    if (process.env.CI === 'true') throw new Error(problem);
    console.warn(problem);
    return problem;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('there is no free port');
  return address.port;
}

/** Start a Redis on a port of its own, with nothing in it, and more arguments for its command line. */
export async function startRedis(more: readonly string[] = [], onPort?: number): Promise<RedisServer> {
  const port = onPort ?? (await freePort());
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-redis-'));
  return start(port, ['--dir', folder, '--save', '', '--appendonly', 'no', ...more], () =>
    rmSync(folder, { recursive: true, force: true }),
  );
}

/** Start a sentinel with a file of its own, which it writes to. */
export async function startSentinel(config: string): Promise<RedisServer> {
  return start(await freePort(), [config, '--sentinel'], () => {});
}

async function start(port: number, args: readonly string[], cleanUp: () => void): Promise<RedisServer> {
  const [config = [], rest] = args[0]?.startsWith('--') ? [[], args] : [[args[0] as string], args.slice(1)];
  const all = [...config, '--port', String(port), '--bind', '127.0.0.1', ...rest];
  const child = spawn(binary, all, { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = `redis://127.0.0.1:${port}`;

  const command = async (...words: string[]): Promise<unknown> => {
    const client = createClient({ url, socket: { reconnectStrategy: false }, RESP: 2 });
    client.on('error', () => {});
    try {
      await client.connect();
      return await client.sendCommand(words);
    } finally {
      client.destroy();
    }
  };
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  for (let tries = 0; ; tries++) {
    try {
      await command('PING');
      break;
    } catch (error) {
      if (tries === 100 || child.exitCode !== null) throw new Error(`redis-server did not start on ${port}: ${error}`);
      await pause(30);
    }
  }
  return {
    url,
    port,
    process: child,
    command,
    kill,
    async close() {
      await kill();
      cleanUp();
    },
  };
}
