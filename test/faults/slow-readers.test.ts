import { readFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { startGatewayProcess } from '../support/gateway.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { chunk, startScriptedUpstream } from '../support/scripted-upstream.ts';

const STREAMS = 100;
const STREAM_BYTES = 10 << 20;
const LIMIT_BYTES = 200 << 20;

/** Resident memory of a process. */
function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1]) * 1024;
}

describe.skipIf(process.platform !== 'linux')('slow readers', () => {
  it('a hundred unread streams of 10 MB each cost less than 200 MB', { timeout: 60_000 }, async () => {
    const upstream = await startScriptedUpstream();
    const gateway = await startGatewayProcess({ providers: [scriptedProvider('scripted', upstream)] });
    const event = `data: ${JSON.stringify(chunk({ content: 'x'.repeat(4096) }))}\n\n`;
    let sent = 0;
    let answered = 0;
    upstream.script(async (exchange) => {
      answered++;
      const gone = exchange.closed;
      for (let bytes = 0; bytes < STREAM_BYTES; bytes += event.length) {
        if ((await Promise.race([exchange.write(event), gone])) !== undefined) return;
        sent += event.length;
      }
      exchange.done();
    });
    const before = residentBytes(gateway.pid);

    const leave = [unreadHttp2(gateway.port, STREAMS / 2), ...times(STREAMS / 2, () => unreadHttp1(gateway.port))];
    let most = 0;
    let last = -1;
    while (answered < STREAMS || sent !== last) {
      last = sent;
      await after(1000);
      most = Math.max(most, residentBytes(gateway.pid));
    }
    for (const close of leave) close();
    await gateway.close();
    await upstream.close();

    expect(answered).toBe(STREAMS);
    expect(sent).toBeLessThan(STREAMS * STREAM_BYTES);
    expect(most - before).toBeLessThan(LIMIT_BYTES);
    console.info(`100 unread streams: ${Math.round((most - before) / 1e6)} MB, ${Math.round(sent / 1e6)} MB taken`);
  });
});

function times<Value>(count: number, make: () => Value): Value[] {
  return Array.from({ length: count }, make);
}

function unreadHttp1(port: number): () => void {
  const body = JSON.stringify({ model: 'scripted-model', stream: true, messages: [{ role: 'user', content: 'hi' }] });
  const socket = connect(port, '127.0.0.1').pause();
  socket.on('error', () => {});
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  return () => socket.destroy();
}

/** gRPC streams on one connection, none of them read. */
function unreadHttp2(port: number, streams: number): () => void {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  const request = { model: 'scripted-model', messages: [{ role: 'ROLE_USER', parts: [{ text: 'hi' }] }] };
  const message = Buffer.from(JSON.stringify({ request }));
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(message.length, 1);
  for (let stream = 0; stream < streams; stream++) {
    const call = session.request({
      ':method': 'POST',
      ':path': '/llmgateway.v1.CompletionService/StreamCompletion',
      'content-type': 'application/grpc+json',
      te: 'trailers',
    });
    call.on('error', () => {});
    call.end(Buffer.concat([frame, message]));
  }
  return () => session.destroy();
}
