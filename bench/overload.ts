/**
 * Loads the gateway to its peak, then with twice as much for a while, and then hardly at all; tells what was answered, how soon, and
 * how health did meanwhile. Load and upstream have another core than the gateway. Run by overload.sh.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import type { Report } from './load.ts';

const { BENCH_HOME = '', BENCH_KEY = '', ...environment } = process.env;
const seconds = Number(process.argv[2] ?? 15);
const kilobytes = Number(process.argv[3] ?? 0);
const connections = Number(process.argv[4] ?? 2000);
/** Callers that wait for each answer and take all there is. */
const PEAK_CONNECTIONS = 64;
const port = 9220;
const url = `http://127.0.0.1:${port}`;
const messages = [
  { role: 'system', content: 'You are a helpful assistant.' },
  { role: 'user', content: `Say hello in one sentence.${' And again.'.repeat(kilobytes * 93)}` },
];
const body = JSON.stringify({ model: 'mock', messages });
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

/** So many calls a second over so many connections, whether they are answered or not; of rate 0, as many as are answered. */
async function load(connections: number, rate: number, duration: number, skipped = 0): Promise<Report> {
  const args = [port, connections, Math.round(rate), duration, skipped].map(String);
  const head = Object.entries({ host: '127.0.0.1', ...headers, 'content-length': Buffer.byteLength(body) });
  const lines = ['POST /v1/chat/completions HTTP/1.1', ...head.map(([name, value]) => `${name}: ${value}`)];
  const generator = start(1, ['node_modules/.bin/node', 'bench/load.ts', ...args]);
  return JSON.parse(await outputOf(generator, `${lines.join('\r\n')}\r\n\r\n${body}`));
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
  const settings = { PORT: String(port), HOST: '127.0.0.1', NODE_ENV: 'production', ENABLE_OLLAMA: 'false' };
  start(0, gateway, { ...environment, ...settings }).stdout?.resume();
  for (let tries = 0; tries < 100; tries++) {
    if ((await fetch(`${url}/readyz`).catch(() => undefined))?.ok) break;
    await pause(100);
  }
  await load(PEAK_CONNECTIONS, 0, 8);
  const peak = await load(PEAK_CONNECTIONS, 0, 5);
  console.log(`peak: ${peak.goodput.toFixed(0)} calls a second, p99 ${shown(peak.p99)}`);

  const stop = watchHealth();
  // The first three seconds are for the gateway to notice.
  const twice = await load(connections, 2 * peak.goodput, seconds, 3);
  const health = stop();
  console.log(
    `at twice that over ${connections} connections, a second: ${twice.goodput.toFixed(0)} answered, ${twice.refused.toFixed(0)} refused after ${shown(twice.refusedP50)}, ${twice.unsent.toFixed(0)} for which no connection was free`,
  );
  console.log(`goodput: ${((100 * twice.goodput) / peak.goodput).toFixed(0)} % of the peak (80 at least)`);
  console.log(
    `accepted: p50 ${shown(twice.p50)}, p99 ${shown(twice.p99)}, ${(twice.p99 / peak.p99).toFixed(1)} times that of the peak (2 at most)`,
  );
  console.log(`health: at most ${shown(Math.max(...health))} of ${health.length} answers (500 ms at most)`);

  const { lastRefusedAt } = await load(PEAK_CONNECTIONS, peak.goodput / 4, 10);
  console.log(`afterwards: the last refusal came ${lastRefusedAt.toFixed(1)} s after the load had gone (5 s at most)`);
} finally {
  for (const child of children) child.kill('SIGTERM');
}
