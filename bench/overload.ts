/**
 * Loads the gateway to its peak, then with twice as much for a while, and then hardly at all; tells what was answered, how soon, and
 * how health did meanwhile. Load and upstream have another core than the gateway. Run by overload.sh.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const { BENCH_HOME = '', BENCH_KEY = '', HARNESS = '', ...environment } = process.env;
const seconds = Number(process.argv[2] ?? 15);
const kilobytes = Number(process.argv[3] ?? 0);
const url = 'http://127.0.0.1:9220';
const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-overload-'));
const bodyFile = join(folder, 'body');
const messages = [
  { role: 'system', content: 'You are a helpful assistant.' },
  { role: 'user', content: `Say hello in one sentence.${' And again.'.repeat(kilobytes * 93)}` },
];
const body = JSON.stringify({ model: 'mock', messages });
writeFileSync(bodyFile, body);
const headers = { authorization: `Bearer ${BENCH_KEY}`, 'content-type': 'application/json' };
const children: ChildProcess[] = [];

function start(core: number, command: string[], env: NodeJS.ProcessEnv = environment): ChildProcess {
  const child = spawn('taskset', ['-c', String(core), ...command], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  return child;
}

async function outputOf(child: ChildProcess, input = ''): Promise<string> {
  let text = '';
  child.stdout?.on('data', (data) => {
    text += data;
  });
  child.stdin?.end(input);
  await new Promise((resolve) => child.once('close', resolve));
  return text;
}

interface Peak {
  readonly rps: number;
  readonly p99: number;
}

/** As many calls as 64 connections bring when each waits for its answer. */
async function peak(duration: number): Promise<Peak> {
  const wrk = [
    'wrk',
    '-t1',
    '-c64',
    `-d${duration}s`,
    '-s',
    `${HARNESS}/profiles/post.lua`,
    `${url}/v1/chat/completions`,
  ];
  const env = { ...environment, BODY_FILE: bodyFile, HDRS: `authorization: ${headers.authorization}` };
  const text = await outputOf(start(1, wrk, env));
  return JSON.parse(/JSON(\{.*\})/.exec(text)?.[1] ?? '{}');
}

interface Answer {
  readonly code: number;
  /** When it was asked, and how long it took, in milliseconds. */
  readonly at: number;
  readonly ms: number;
}

/** So many calls a second, whether they are answered or not. */
async function attack(rate: number, duration: number): Promise<Answer[]> {
  const target = {
    method: 'POST',
    url: `${url}/v1/chat/completions`,
    header: {} as Record<string, string[]>,
    body: '',
  };
  for (const [name, value] of Object.entries(headers)) target.header[name] = [value];
  target.body = Buffer.from(body).toString('base64');
  const vegeta = `${BENCH_HOME}/bin/vegeta`;
  const limits = ['-format=json', '-lazy=false', `-rate=${Math.round(rate)}`, `-duration=${duration}s`];
  const results = join(folder, 'results');
  const command = [vegeta, 'attack', ...limits, '-max-workers=2000', '-max-connections=2000', `-output=${results}`];
  await outputOf(start(1, command), `${JSON.stringify(target)}\n`);
  const lines = await outputOf(start(1, [vegeta, 'encode', '-to=json', results]));
  const answers = lines
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return answers.map(({ code, timestamp, latency }) => ({ code, at: Date.parse(timestamp), ms: latency / 1e6 }));
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** Asks for health ten times a second until it is stopped; tells how long each answer took. */
function watchHealth(): () => number[] {
  const times: number[] = [];
  let isOn = true;
  void (async () => {
    while (isOn) {
      const began = performance.now();
      const { status } = await fetch(`${url}/health`).catch(() => ({ status: 0 }));
      times.push(status === 200 ? performance.now() - began : Number.POSITIVE_INFINITY);
      await pause(100);
    }
  })();
  return () => {
    isOn = false;
    return times;
  };
}

function shown(ms: number): string {
  return `${ms.toFixed(1)} ms`;
}

try {
  start(1, [`${BENCH_HOME}/bin/mock`, '-addr', '127.0.0.1:9110']);
  const gateway = ['node_modules/.bin/node', 'src/main.ts', '--config', 'bench/overload.yaml'];
  const settings = { PORT: '9220', HOST: '127.0.0.1', NODE_ENV: 'production', ENABLE_OLLAMA: 'false' };
  start(0, gateway, { ...environment, ...settings }).stdout?.resume();
  for (let tries = 0; tries < 100; tries++) {
    if ((await fetch(`${url}/readyz`).catch(() => undefined))?.ok) break;
    await pause(100);
  }
  await peak(3);
  const best = await peak(5);
  console.log(`peak: ${best.rps.toFixed(0)} calls a second, p99 ${shown(best.p99)}`);

  const stop = watchHealth();
  const answers = await attack(2 * best.rps, seconds);
  const health = stop();
  const since = answers.reduce((first, { at }) => Math.min(first, at), Number.POSITIVE_INFINITY);
  // The first three seconds are for the gateway to notice.
  const steady = answers.filter(({ at }) => at - since > 3000);
  const good = steady.filter(({ code }) => code === 200);
  const goodput = good.length / (seconds - 3);
  const p99 = quantile(
    good.map(({ ms }) => ms),
    0.99,
  );
  const codes = Map.groupBy(answers, ({ code }) => code);
  console.log(`at twice that: ${[...codes].map(([code, of]) => `${code}: ${of.length}`).join(', ')}`);
  console.log(
    `goodput: ${goodput.toFixed(0)} a second, ${((100 * goodput) / best.rps).toFixed(0)} % of the peak (80 at least)`,
  );
  console.log(`accepted p99: ${shown(p99)}, ${(p99 / best.p99).toFixed(1)} times that of the peak (2 at most)`);
  console.log(`health: at most ${shown(Math.max(...health))} of ${health.length} answers (500 ms at most)`);

  const after = await attack(best.rps / 4, 10);
  const end = after.reduce((first, { at }) => Math.min(first, at), Number.POSITIVE_INFINITY);
  const last = Math.max(0, ...after.filter(({ code }) => code !== 200).map(({ at }) => at - end));
  console.log(`afterwards: the last refusal came ${(last / 1000).toFixed(1)} s after the load had gone (5 s at most)`);
} finally {
  for (const child of children) child.kill('SIGTERM');
  rmSync(folder, { recursive: true });
}
