import { readFileSync } from 'node:fs';
import { setTimeout as after } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { startGatewayProcess } from '../support/gateway.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { chunk, startScriptedUpstream } from '../support/scripted-upstream.ts';
import { openSession, unreadGrpc, unreadHttp1 } from '../support/unread-caller.ts';

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

    const session = openSession(gateway.port);
    for (let stream = 0; stream < STREAMS / 2; stream++) unreadGrpc(session, 'scripted-model');
    const leave = Array.from({ length: STREAMS / 2 }, () => unreadHttp1(gateway.port, 'scripted-model'));
    let most = 0;
    let last = -1;
    while (answered < STREAMS || sent !== last) {
      last = sent;
      await after(1000);
      most = Math.max(most, residentBytes(gateway.pid));
    }
    session.destroy();
    for (const leaveNow of leave) leaveNow();
    await gateway.close();
    await upstream.close();

    expect(answered).toBe(STREAMS);
    expect(sent).toBeLessThan(STREAMS * STREAM_BYTES);
    expect(most - before).toBeLessThan(LIMIT_BYTES);
    console.info(`100 unread streams: ${Math.round((most - before) / 1e6)} MB, ${Math.round(sent / 1e6)} MB taken`);
  });
});
