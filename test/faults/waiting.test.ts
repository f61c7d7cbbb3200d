import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Door } from '../support/doors.ts';
import { brokenLaws } from '../support/event-laws.ts';
import { grpcFrame, httpPost, sendHttp2, sendRaw } from '../support/raw-http.ts';
import { type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { saying } from '../support/scripted-upstream.ts';

const HEARTBEAT_MS = 50;
const path = '/llmgateway.v1.CompletionService/CreateCompletion';
const request = JSON.stringify({
  request: { model: 'both', messages: [{ role: 'ROLE_USER', parts: [{ text: 'hi' }] }] },
});

describe('waiting', () => {
  let scripted: ScriptedGateway;
  let streams: Door[];

  beforeAll(async () => {
    scripted = await startScriptedGateway({
      timeouts: { heartbeat: `${HEARTBEAT_MS}ms`, total_unary: '2s', total_stream: '2100ms', total_native: '2200ms' },
    });
    streams = scripted.doors.all.filter(({ streaming }) => streaming);
  });
  beforeEach(() => {
    scripted.upstream.script(undefined);
    scripted.other.script(undefined);
  });
  afterAll(() => scripted.close());

  it('ends at the configured total at every door, and closes the upstream', async () => {
    scripted.upstream.script(() => {});
    const began = performance.now();
    const outcomes = await Promise.all(
      scripted.doors.all.map(async (door) => ({ door, ...(await door.ask({ model: 'both', fallback: false })) })),
    );
    const tookMs = performance.now() - began;
    for (const { door, failure } of outcomes) {
      expect([door.name, failure?.message]).toEqual([door.name, expect.stringMatching(/not over within 2\d00 ms/)]);
      if (door.family === 'rpc')
        expect(failure).toMatchObject({ code: 'deadline_exceeded', reason: 'deadline_exceeded' });
      else if (!door.streaming) expect(failure).toMatchObject({ status: 504, reason: 'deadline_exceeded' });
      else expect(failure?.status).toBeUndefined(); // heartbeats have sent the headers
    }
    expect(tookMs).toBeGreaterThan(1990);
    expect(tookMs).toBeLessThan(2700);
    await expect.poll(() => scripted.upstream.openAnswers()).toBe(0);
    expect(scripted.other.requests).toEqual([]);
  });

  it('ends at the deadline that came with the call, by body, header and gRPC', async () => {
    scripted.upstream.script(() => {});
    const { port } = scripted.gateway;
    const body = JSON.stringify({ model: 'both', timeout: 1, messages: [{ role: 'user', content: 'hi' }] });
    const [openai, native, connect, grpc] = await Promise.all([
      sendRaw(port, httpPost('/v1/chat/completions', body)),
      sendRaw(port, httpPost('/completion', body)),
      sendRaw(port, httpPost(path, request, { 'connect-timeout-ms': '300' })),
      sendHttp2(
        port,
        { ':path': path, 'content-type': 'application/grpc+json', te: 'trailers', 'grpc-timeout': '300m' },
        grpcFrame(request),
      ),
    ]);
    expect([openai.status, native.status, connect.status]).toEqual([504, 504, 504]);
    expect(JSON.parse(openai.body).error).toMatchObject({ type: 'timeout_error', code: 'deadline_exceeded' });
    expect(JSON.parse(native.body).error).toBe('deadline_exceeded');
    expect(JSON.parse(connect.body).code).toBe('deadline_exceeded');
    expect(grpc.trailers['grpc-status'] ?? grpc.headers['grpc-status']).toBe('4');
    for (const { tookMs } of [openai, native]) expect(tookMs).toSatisfy((ms) => ms > 990 && ms < 1500);
    for (const { tookMs } of [connect, grpc]) expect(tookMs).toSatisfy((ms) => ms > 290 && ms < 800);
  });

  it('ends at the configured total when the call allows more', async () => {
    scripted.upstream.script(() => {});
    const headers = { ':path': path, 'content-type': 'application/grpc+json', te: 'trailers', 'grpc-timeout': '100S' };
    const { tookMs } = await sendHttp2(scripted.gateway.port, headers, grpcFrame(request));
    expect(tookMs).toSatisfy((ms) => ms > 1990 && ms < 2700);
  });

  it('is told by heartbeats on every stream, and the answer comes all the same', async () => {
    scripted.upstream.script((exchange) => delay(4 * HEARTBEAT_MS).then(() => saying('at ', 'last')(exchange)));
    for (const { door, failure, told, events } of await Promise.all(
      streams.map(async (door) => ({ door, ...(await door.ask({ model: 'both' })) })),
    )) {
      expect([door.name, failure, told.text]).toEqual([door.name, undefined, 'at last']);
      if (!events) continue;
      expect(events[0]?.event.case).toBe('heartbeat');
      expect(brokenLaws(events)).toEqual([]);
    }
  });

  it('can be seen in the frames of REST, as comments', async () => {
    scripted.upstream.script((exchange) => delay(4 * HEARTBEAT_MS).then(() => saying('at last')(exchange)));
    for (const at of ['/v1/chat/completions', '/completion']) {
      const body = JSON.stringify({ model: 'both', stream: true, messages: [{ role: 'user', content: 'hi' }] });
      const answer = await sendRaw(scripted.gateway.port, httpPost(at, body));
      expect(answer.status).toBe(200);
      expect(answer.headers).not.toHaveProperty('x-selected-provider');
      expect(answer.body).toMatch(/(^|\n):[^\n]*\n/);
    }
  });

  it('does not keep the gateway from failing over', async () => {
    scripted.upstream.script((exchange) => delay(4 * HEARTBEAT_MS).then(() => exchange.text('', 503)));
    scripted.other.script(saying('from the second'));
    for (const { door, failure, told } of await Promise.all(
      streams.map(async (door) => ({ door, ...(await door.ask({ model: 'both' })) })),
    )) {
      expect([door.name, failure, told.text]).toEqual([door.name, undefined, 'from the second']);
    }
  });

  it('ends in an error frame when a failure comes after the first heartbeat', async () => {
    scripted.upstream.script((exchange) => delay(4 * HEARTBEAT_MS).then(() => exchange.text('', 503)));
    for (const { door, failure, told } of await Promise.all(
      streams.map(async (door) => ({ door, ...(await door.ask({ model: 'both', fallback: false })) })),
    )) {
      expect([door.name, told.text, told.finish_reason]).toEqual([door.name, '', undefined]);
      expect([door.name, failure?.message]).toEqual([door.name, expect.stringContaining('first is not available')]);
      expect(failure?.status).toBeUndefined();
    }
  });
});
