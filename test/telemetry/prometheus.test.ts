import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { type ScriptedUpstream, saying, startScriptedUpstream } from '../support/scripted-upstream.ts';

// The Debian package `prometheus` has both programs; .ci/tools.sh installs it.
const isInstalled = ['prometheus', 'promtool'].every((program) => {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
});

const ADMIN_KEY = 'the-key-of-the-administrator';

let upstream: ScriptedUpstream;
let other: ScriptedUpstream;
let gateway: GatewayProcess;
let prometheus: ChildProcess;
let folder: string;
let port: number;
let alonePort: number;

beforeAll(async () => {
  if (!isInstalled) return;
  upstream = await startScriptedUpstream();
  other = await startScriptedUpstream();
  [port, alonePort] = [await freePort(), await freePort()];
  const targets = ['first', 'second'].map((provider) => ({ provider, model: 'scripted-model' }));
  const prices = ['first', 'second'].map((provider) => ({
    id: 'scripted-model',
    provider,
    input_price: 1000,
    output_price: 2000,
  }));
  gateway = await startGatewayProcess(
    {
      providers: [scriptedProvider('first', upstream), scriptedProvider('second', other)],
      routes: [{ model: 'both', strategy: 'failover', targets }],
      models: prices,
      retry: { attempts_per_target: 1 },
      breaker: { min_calls: 1000 },
    },
    {
      GATEWAY_ADMIN_KEY: ADMIN_KEY,
      OTEL_METRICS_EXPORTER: 'prometheus',
      OTEL_EXPORTER_PROMETHEUS_PORT: String(alonePort),
      OTEL_EXPORTER_PROMETHEUS_HOST: '127.0.0.1',
    },
  );
  folder = mkdtempSync(join(tmpdir(), 'llm-gateway-prometheus-'));
  const scrape = (name: string, target: string, more = {}) => ({
    job_name: name,
    scrape_interval: '1s',
    static_configs: [{ targets: [target] }],
    ...more,
  });
  const config = {
    scrape_configs: [
      scrape('own-port', `127.0.0.1:${gateway.port}`, { authorization: { credentials: ADMIN_KEY } }),
      scrape('alone', `127.0.0.1:${alonePort}`),
    ],
  };
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config));
  prometheus = spawn(
    'prometheus',
    [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: 'ignore' },
  );
});
afterAll(async () => {
  if (!isInstalled) return;
  prometheus.kill('SIGKILL');
  await gateway.close();
  await upstream.close();
  await other.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The value of an expression that has one, as Prometheus has it now. */
async function query(expr: string): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expr)}`).catch(
    () => undefined,
  );
  const result = answer?.ok ? (await answer.json()).data.result : [];
  return result.length === 0 ? Number.NaN : Number(result[0].value[1]);
}

async function chat(body: object): Promise<void> {
  const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'hi' }], ...body }),
  });
  await answer.arrayBuffer();
}

async function metricsJson() {
  return (await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${ADMIN_KEY}` } })).json();
}

describe.skipIf(!isInstalled && process.env.CI !== 'true')('a Prometheus that scrapes the gateway', () => {
  it('has the counts and sums that the JSON has', async () => {
    let asked = 0;
    upstream.script(async (exchange) => {
      await pause(5 + (asked % 7) * 10);
      if (asked++ % 4 === 3) exchange.json({ error: { message: 'down' } }, 503);
      else await saying('hello', ' there')(exchange);
    });
    other.script(saying('hello'));
    for (let index = 0; index < 60; index++) await chat({ model: 'both', stream: index % 3 === 0 });
    await chat({ model: 'nobody-has-it' });

    await expect
      .poll(() => query('sum(gateway_requests_total{job="own-port"})'), { timeout: 30_000, interval: 300 })
      .toBe(61);
    const { gateway_metrics: calls, provider_metrics: providers } = await metricsJson();
    const close = (found: number, expected: number) => expect(Math.abs(found - expected) / expected).toBeLessThan(0.01);
    const ok = '{job="own-port", gateway_outcome="ok"}';
    close(await query(`sum(gateway_requests_total${ok})`), calls.successful_requests);
    close(await query('sum(gateway_cost_total{job="own-port"})'), calls.cost_usd);
    close(await query('sum(gateway_tokens_total{job="own-port", gateway_token_type="input"})'), calls.prompt_tokens);
    close(
      await query('sum(gen_ai_server_request_duration_sum{job="own-port", error_type=""})'),
      calls.avg_response_time * calls.successful_requests,
    );
    for (const [name, provider] of Object.entries<Record<string, number>>(providers)) {
      const labels = `job="own-port", gateway_provider="${name}"`;
      const { total_requests = 0, successful_requests = 0, avg_response_time = 0 } = provider;
      close(await query(`sum(gateway_attempts_total{${labels}})`), total_requests);
      close(await query(`sum(gen_ai_client_operation_duration_count{${labels}})`), total_requests);
      close(
        await query(`sum(gen_ai_client_operation_duration_sum{${labels}, error_type=""})`),
        avg_response_time * successful_requests,
      );
    }
    expect(providers.first.failed_requests).toBe(15);
    expect(await query('sum(gateway_failovers_total{job="own-port", gateway_outcome="ok"})')).toBe(15);
  }, 60_000);

  it('finds the same on the port of the standard variables, without a key', async () => {
    await expect
      .poll(() => query('sum(gateway_requests_total{job="alone"})'), { timeout: 10_000, interval: 300 })
      .toBe(61);
    expect(await query('count({job="alone", __name__=~"gateway_.*|gen_ai_.*"})')).toBe(
      await query('count({job="own-port", __name__=~"gateway_.*|gen_ai_.*"})'),
    );
  }, 30_000);

  it('reads no line that promtool complains of', async () => {
    const text = await (await fetch(`http://127.0.0.1:${alonePort}/metrics`)).text();
    // Names without a unit at their end are those of OpenTelemetry's conventions: promtool would have them otherwise.
    const style = /should|no help text|non-base units|metric names? .* contain|counter metrics/;
    const found = await new Promise<string>((resolve) => {
      const promtool = spawn('promtool', ['check', 'metrics']);
      let said = '';
      promtool.stderr.on('data', (data) => {
        said += data;
      });
      promtool.on('close', () => resolve(said));
      promtool.stdin.end(text);
    });
    expect(found.split('\n').filter((line) => line !== '' && !style.test(line))).toEqual([]);
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: free } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return free;
}
