/**
 * Twenty calls a second over three providers that are each out of order 20 % of the time, for up to 10 s at once.
 *
 *   node_modules/.bin/node bench/soak.ts [MINUTES] [CALLS A SECOND]      30 and 20 unless given
 *
 * While a provider is out of order it refuses connections, resets them, answers 500, 503 or 429, sends nonsense, or is silent:
 * one of these for the whole outage. Half of the calls are streams. A call counts as answered when its whole text has come,
 * exactly once. Ends with 1 when fewer than 99.9 % are.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const minutes = Number(process.argv[2] ?? 30);
const callsPerSecond = Number(process.argv[3] ?? 20);
const text = 'The answer that every caller has to get, whole and once.';

const faults = ['refused', 'reset', 'status 500', 'status 503', 'status 429', 'nonsense', 'silence'] as const;
const longestOutageMs = 10_000;
/** Outages are 5 s long on average, so that 20 s between them make 20 %. */
const meanUptimeMs = 20_000;

interface Upstream {
  readonly url: string;
  asked: number;
  failed: number;
  outMs: number;
  close(): void;
}

async function startUpstream(): Promise<Upstream> {
  let fault: (typeof faults)[number] | undefined;
  let ended = false;
  const server = createServer(async (request, response) => {
    upstream.asked++;
    if (fault !== undefined) {
      upstream.failed++;
      fail(fault, response);
      return;
    }
    // One whose caller has gone has no body to read.
    await answer(request, response).catch(() => response.destroy());
  });
  server.on('connection', (socket) => {
    if (fault === 'refused') socket.resetAndDestroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const upstream: Upstream = {
    url: `http://127.0.0.1:${port}/v1`,
    asked: 0,
    failed: 0,
    outMs: 0,
    close() {
      ended = true;
      server.closeAllConnections();
      server.close();
    },
  };
  void (async () => {
    while (!ended) {
      await pause(-Math.log(1 - Math.random()) * meanUptimeMs);
      const outageMs = Math.random() * longestOutageMs;
      fault = faults[Math.floor(Math.random() * faults.length)];
      if (fault === 'refused') server.closeAllConnections();
      await pause(outageMs);
      upstream.outMs += outageMs;
      fault = undefined;
    }
  })();
  return upstream;
}

function fail(fault: (typeof faults)[number], response: ServerResponse): void {
  const [word, status] = fault.split(' ');
  if (word === 'status') response.writeHead(Number(status)).end(JSON.stringify({ error: { message: 'out of order' } }));
  else if (word === 'nonsense') response.writeHead(200, { 'content-type': 'application/json' }).end('{"choices":');
  else if (word !== 'silence') response.socket?.resetAndDestroy();
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = '';
  for await (const chunk of request) body += chunk;
  const common = { id: 'soak', created: 1, model: 'soak' };
  const usage = { prompt_tokens: 3, completion_tokens: 12, total_tokens: 15 };
  await pause(50 + Math.random() * 200);
  if (!JSON.parse(body).stream) {
    const message = { role: 'assistant', content: text };
    const choices = [{ index: 0, message, finish_reason: 'stop' }];
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ ...common, object: 'chat.completion', choices, usage }));
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (delta: object, finish_reason: string | null = null) => {
    const choices = [{ index: 0, delta, finish_reason }];
    response.write(`data: ${JSON.stringify({ ...common, object: 'chat.completion.chunk', choices })}\n\n`);
  };
  for (const word of text.split(/(?<= )/)) {
    send({ content: word });
    await pause(10);
  }
  send({}, 'stop');
  response.end('data: [DONE]\n\n');
}

/** What came of a call: `ok`, or how it failed. */
async function ask(url: string, stream: boolean): Promise<string> {
  try {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'soak', stream, messages: [{ role: 'user', content: 'Tell me.' }] }),
    });
    const got = await response.text();
    if (response.status !== 200) return `${response.status} ${JSON.parse(got).error?.code}`;
    if (!stream) return JSON.parse(got).choices[0].message.content === text ? 'ok' : 'another text';
    if (!got.endsWith('data: [DONE]\n\n')) return 'cut';
    const frames = got.split('\n\n').flatMap((frame) => (/^data: \{/.test(frame) ? [JSON.parse(frame.slice(6))] : []));
    return frames.map((frame) => frame.choices?.[0]?.delta?.content ?? '').join('') === text ? 'ok' : 'another text';
  } catch (error) {
    return String(error);
  }
}

const upstreams = await Promise.all([startUpstream(), startUpstream(), startUpstream()]);
const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-soak-'));
const file = join(folder, 'gateway.yaml');
writeFileSync(
  file,
  JSON.stringify({
    server: { host: '127.0.0.1', port: 0 },
    providers: upstreams.map(({ url }, at) => ({
      name: `p${at}`,
      kind: 'openai_compatible',
      base_url: url,
      default_model: 'soak',
    })),
    // A stream that has begun is held back, so that one cut in the middle can still come from elsewhere. The waits of a call add
    // up to more than an outage of all three is likely to last, and breakers stay out of it: where every provider is closed a call
    // is refused at once, and here all three are out of order for 0.8 % of the time.
    routes: [{ model: 'soak', guarantee: 'buffered', targets: upstreams.map((_, at) => ({ provider: `p${at}` })) }],
    retry: { attempts_per_target: 6, attempts: 18, base_delay: '500ms', max_delay: '5s', budget_ratio: 1 },
    breaker: { min_calls: 10_000, open_for: '500ms', max_open_for: '1s' },
    timeouts: { first_token: '3s', attempt_unary: '3s' },
    limits: { tiers: [{ name: 'default', capacity: 1_000_000, refill_per_second: 1_000_000 }] },
    telemetry: { log_level: 'warn' },
  }),
);
const gateway = spawn(process.execPath, ['src/main.ts', '--config', file], {
  cwd: new URL('..', import.meta.url).pathname,
  env: { PATH: process.env.PATH, ENABLE_OLLAMA: 'false', PORT: '19300' },
  stdio: ['ignore', 'inherit', 'inherit'],
});
process.once('exit', () => gateway.kill());
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
const url = 'http://127.0.0.1:19300';
for (let tries = 0; tries < 100; tries++) {
  if (
    await fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    )
  )
    break;
  await pause(100);
}

const outcomes = new Map<string, number>();
const tookMs: number[] = [];
const running = new Set<Promise<void>>();
const began = performance.now();
for (let call = 0; performance.now() - began < minutes * 60_000; call++) {
  const at = began + (call * 1_000) / callsPerSecond;
  await pause(Math.max(0, at - performance.now()));
  const startedAt = performance.now();
  const done = ask(url, call % 2 === 0).then((outcome) => {
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    tookMs.push(performance.now() - startedAt);
    running.delete(done);
  });
  running.add(done);
}
await Promise.all(running);
const seconds = (performance.now() - began) / 1_000;
for (const upstream of upstreams) upstream.close();
rmSync(folder, { recursive: true });

tookMs.sort((a, b) => a - b);
const quantile = (q: number) => Math.round(tookMs[Math.floor(q * (tookMs.length - 1))] ?? 0);
const answered = outcomes.get('ok') ?? 0;
const share = answered / tookMs.length;
console.log(`${tookMs.length} calls in ${Math.round(seconds)} s, answered ${answered}: ${(100 * share).toFixed(3)} %`);
console.log(`p50 ${quantile(0.5)} ms, p95 ${quantile(0.95)} ms, p99 ${quantile(0.99)} ms, longest ${quantile(1)} ms`);
for (const [at, { asked, failed, outMs }] of upstreams.entries()) {
  console.log(
    `p${at}: out of order ${(outMs / 10 / seconds).toFixed(1)} % of the time, asked ${asked}, of which failed ${failed}`,
  );
}
for (const [outcome, count] of outcomes) if (outcome !== 'ok') console.log(`${count} x ${outcome}`);
process.exit(share >= 0.999 ? 0 : 1);
