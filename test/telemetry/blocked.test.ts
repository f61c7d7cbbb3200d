import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { type ScriptedUpstream, saying, startScriptedUpstream } from '../support/scripted-upstream.ts';
import { type OtlpReceiver, startOtlpReceiver } from './otlp-receiver.ts';
import { readExposition, total } from './read-exposition.ts';

let collector: OtlpReceiver;
let upstream: ScriptedUpstream;
let gateway: GatewayProcess;
const agent = new Agent({ connections: 8 });

beforeAll(async () => {
  collector = await startOtlpReceiver();
  upstream = await startScriptedUpstream();
  upstream.script(saying('hello'));
  gateway = await startGatewayProcess(
    { providers: [scriptedProvider('first', upstream)] },
    { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' },
  );
});
afterAll(async () => {
  await agent.close();
  await gateway.close();
  await collector.close();
  await upstream.close();
});

/** Memory of the gateway's process that is in RAM. */
function residentBytes(): number {
  const pages = Number(readFileSync(`/proc/${gateway.pid}/statm`, 'utf8').split(' ')[1]);
  return pages * 4096;
}

async function chat(times: number): Promise<void> {
  const body = JSON.stringify({ model: 'auto', messages: [{ role: 'user', content: 'hi' }] });
  const headers = { 'content-type': 'application/json' };
  const once = async () => {
    const answer = await request(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers,
      body,
      dispatcher: agent,
    });
    expect(answer.statusCode).toBe(200);
    await answer.body.dump();
  };
  for (let done = 0; done < times; done += 8) await Promise.all(Array.from({ length: 8 }, once));
}

async function metrics() {
  const { body } = await request(`${gateway.url}/metrics`, { headers: { accept: 'text/plain' }, dispatcher: agent });
  return readExposition(await body.text());
}

describe.skipIf(process.platform !== 'linux')(
  'a gateway whose log nobody reads and whose collector takes nothing',
  () => {
    it('answers as ever, in bounded memory, and counts what it loses', async () => {
      await chat(1000);
      const began = performance.now();
      await chat(1000);
      const openMs = performance.now() - began;
      const before = residentBytes();

      gateway.process.stdout?.pause();
      collector.block();
      await chat(3000);
      const again = performance.now();
      await chat(1000);
      const blockedMs = performance.now() - again;

      expect(blockedMs).toBeLessThan(3 * openMs + 500);
      expect((residentBytes() - before) / 2 ** 20).toBeLessThan(64);
      const samples = await metrics();
      expect(total(samples, 'gateway_log_dropped_total')).toBeGreaterThan(0);
      const lost = { error_type: 'queue_full' };
      expect(total(samples, 'otel_sdk_processor_span_processed_total', lost)).toBeGreaterThan(0);
      expect(total(samples, 'gateway_requests_total', { gateway_outcome: 'ok' })).toBe(6000);
    }, 120_000);
  },
);
