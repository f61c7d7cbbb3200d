import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net, { type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Write bytes to a port and read until the other side closes (or `until` is seen). */
export function exchange(port: number, bytes: string | Buffer, until?: string): Promise<string> {
  return readAll(connectTo(port, bytes), until);
}

/** A connection on which `bytes` have been written. */
export function connectTo(port: number, bytes: string | Buffer = ''): Socket {
  const socket = net.connect({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  if (bytes.length > 0) socket.write(bytes);
  return socket;
}

/** What a connection brings until it closes, or until `until` is seen. */
export function readAll(socket: Socket, until?: string): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const onData = (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (until !== undefined && text.includes(until)) {
        socket.off('data', onData).off('close', onClose);
        resolve(text);
      }
    };
    const onClose = () => resolve(text);
    socket.on('data', onData).on('close', onClose);
  });
}

/** A certificate for localhost that nobody else has ever seen. */
export function selfSigned(): { cert: Buffer; key: Buffer } {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-tls-'));
  try {
    const files = ['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')];
    const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    execFileSync('openssl', ['req', ...kind, ...name, ...files], { stdio: 'ignore' });
    return { cert: readFileSync(join(folder, 'cert.pem')), key: readFileSync(join(folder, 'key.pem')) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
