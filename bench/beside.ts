/**
 * Measures two gateways that run beside each other: short loads go to one and the other in turn, so that whatever else the machine does
 * meets both. Each round has new processes, since two of the same code differ by several percent for as long as they live.
 *
 *     node bench/beside.ts HARNESS BASE,JUDGED ROUNDS RESULTS.json      writes each turn as the harness does a round, for report.ts
 */
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** What is taken of the harness's lib.mjs. */
interface Harness {
  readonly BODY_FILE: string;
  readonly prepare: () => void;
  readonly requestBody: (model: string) => string;
  readonly expand: <Value>(value: Value) => Value;
  readonly spawnPinned: (core: string, command: readonly string[], options: SpawnOptions) => ChildProcess;
  readonly treeCpuMs: (pid: number) => number;
  readonly wrk: (
    core: string,
    url: string,
    options: { seconds: number; headers: Headers },
  ) => Promise<{ requests: number }>;
  readonly sseload: (
    core: string,
    url: string,
    args: readonly string[],
    headers: Headers,
  ) => Promise<{ chunks: number }>;
}

type Headers = Readonly<Record<string, string>>;

interface Target {
  readonly name: string;
  readonly url: string;
  readonly health: string;
  readonly start: readonly string[];
  readonly cwd: string;
  readonly headers: Headers;
  readonly env: NodeJS.ProcessEnv;
}

interface Gateway {
  readonly target: Target;
  readonly child: ChildProcess;
}

interface Upstream {
  readonly cmd: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly health: string;
  readonly stats: string;
}

const GATEWAY_CORE = '0';
const LOAD_CORE = '1';
/** Loads of each kind that a gateway gets in a round. */
const TURNS = 6;
const LOAD_SECONDS = 1;
const kinds = ['throughput', 'sse', 'paced'] as const;
type Kind = (typeof kinds)[number];
/** Calls again at the end: streams make V8 compile anew what they share with calls. */
const warmUp: readonly (readonly [kind: Kind, seconds: number])[] = [
  ['throughput', 6],
  ['sse', 3],
  ['paced', 3],
  ['throughput', 4],
];

const [folder = '', names = '', rounds = '4', out = ''] = process.argv.slice(2);
const harness: Harness = await import(resolve(folder, 'lib.mjs'));
const targetsFile = new URL('targets.json', import.meta.url);
const { mock, targets } = JSON.parse(readFileSync(targetsFile, 'utf8')) as { mock: Upstream; targets: Target[] };
const upstream = harness.expand(mock);
const chosen = targets.filter(({ name }) => names.split(',').includes(name)).map((target) => harness.expand(target));
const running = new Set<ChildProcess>();

async function start(core: string, command: readonly string[], health: string, options: SpawnOptions) {
  if ((await fetch(health).catch(() => undefined))?.ok) throw new Error(`something else answers at ${health} already`);
  const child = harness.spawnPinned(core, command, { ...options, stdio: 'ignore' });
  running.add(child);
  while (!(await fetch(health).catch(() => undefined))?.ok) {
    if (child.exitCode !== null) throw new Error(`${command.join(' ')} exited with ${child.exitCode}`);
    await pause(50);
  }
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  running.delete(child);
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

/** Load a gateway for some seconds; what it did, and what one call or chunk took. */
async function load(kind: Kind, { target, child: { pid = 0 } }: Gateway, seconds: number) {
  const { url, headers } = target;
  const asked = await askedUpstream();
  const before = harness.treeCpuMs(pid);
  const cost = (units: number) => ((harness.treeCpuMs(pid) - before) * 1000) / units;
  if (kind === 'throughput') {
    const figures = await harness.wrk(LOAD_CORE, url, { seconds, headers });
    const { requests } = figures;
    return {
      ...figures,
      cpu_us_per_req: cost(requests),
      upstream_per_req: ((await askedUpstream()) - asked) / requests,
    };
  }
  const model = kind === 'sse' ? 'mock-c100-d0' : 'mock-c100-d5';
  const args = ['-model', model, '-c', '32', '-dur', `${seconds}s`];
  const figures = await harness.sseload(LOAD_CORE, url, args, headers);
  return { ...figures, cpu_us_per_chunk: cost(figures.chunks) };
}

async function askedUpstream(): Promise<number> {
  const { req } = (await (await fetch(upstream.stats)).json()) as { req: number };
  return req;
}

/** Load both gateways, new and warmed up, in turn; a row for each of them and each turn. */
async function* inTurn(round: number) {
  const gateways: Gateway[] = [];
  for (const target of round % 2 ? chosen : chosen.toReversed()) {
    const { start: command, health, cwd, env } = target;
    const child = await start(GATEWAY_CORE, command, health, { cwd, env: { ...process.env, ...env } });
    gateways.push({ target, child });
    for (const [kind, seconds] of warmUp) await load(kind, { target, child }, seconds);
  }
  for (let turn = 0; turn < TURNS; turn++) {
    const rows = gateways.map(({ target }) => ({ target: target.name, round: round * TURNS + turn + 1 }));
    for (const kind of kinds) {
      for (const [at, gateway] of gateways.entries()) {
        Object.assign(rows[at] ?? {}, { [kind]: await load(kind, gateway, LOAD_SECONDS) });
      }
    }
    yield* rows;
    gateways.reverse();
  }
  for (const { child } of gateways) await stop(child);
}

const runs: object[] = [];
try {
  harness.prepare();
  writeFileSync(harness.BODY_FILE, harness.requestBody('mock'));
  await start(LOAD_CORE, upstream.cmd, upstream.health, { env: { ...process.env, ...upstream.env } });
  for (let round = 0; round < Number(rounds); round++) {
    for await (const row of inTurn(round)) runs.push(row);
    writeFileSync(out, JSON.stringify({ runs }, null, 1));
    console.error(`round ${round + 1} of ${rounds}`);
  }
} finally {
  for (const child of running) child.kill('SIGKILL');
}
