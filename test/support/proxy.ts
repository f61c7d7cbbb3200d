import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, request as requestByHttp } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A proxy that a test runs. Whatever host it is asked for, it goes to 127.0.0.1. */
export interface TestProxy extends AsyncDisposable {
  readonly port: number;
  /** What it was asked, in order: `GET http://…` for requests it handed on, `CONNECT host:port` for tunnels. */
  readonly asked: { what: string; headers: IncomingHttpHeaders }[];
}

/** How a proxy behaves. */
export interface TestProxyOptions {
  /** Answers everything with this status instead of doing it. */
  readonly refuseWith?: number;
  /** Takes requests for tunnels and says nothing. */
  readonly silent?: boolean;
  /** Speaks TLS itself. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** Start a proxy that hands on plain requests and opens tunnels, on a free port. */
export async function startProxy({ refuseWith, silent, tls }: TestProxyOptions = {}): Promise<TestProxy> {
  const asked: TestProxy['asked'] = [];
  const sockets = new Set<Socket>();
  const server = tls ? createTlsServer(tls) : createServer();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  server.on('request', (request, response) => {
    asked.push({ what: `${request.method} ${request.url}`, headers: request.headers });
    if (refuseWith) return response.writeHead(refuseWith).end();
    const { port, pathname, search } = new URL(request.url ?? '');
    const { method, headers } = request;
    const onward = requestByHttp({ host: '127.0.0.1', port, path: pathname + search, method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.writeHead(502).end());
    request.pipe(onward);
  });
  server.on('connect', (request, socket: Socket) => {
    asked.push({ what: `CONNECT ${request.url}`, headers: request.headers });
    socket.on('error', () => socket.destroy());
    if (silent) return;
    if (refuseWith) return socket.end(`HTTP/1.1 ${refuseWith} Refused\r\n\r\n`);
    const onward = connect(Number(request.url?.split(':').at(-1)), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.pipe(socket).pipe(onward);
    });
    onward.on('error', () => socket.destroy());
    onward.on('close', () => socket.destroy());
    socket.on('close', () => onward.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    port: (server.address() as AddressInfo).port,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}

/** A private authority, and a certificate of it for `api.test` and 127.0.0.1: all in PEM. */
export function privateAuthority(): { ca: string; cert: string; key: string } {
  const folder = mkdtempSync(join(tmpdir(), 'private-ca-'));
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore', cwd: folder });
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const names = [
    '-addext',
    'subjectAltName=DNS:api.test,IP:127.0.0.1',
    '-addext',
    'basicConstraints=critical,CA:FALSE',
  ];
  try {
    openssl('req', ...kind, '-subj', '/CN=Private CA', '-keyout', 'ca.key', '-out', 'ca.pem');
    openssl(
      'req',
      ...kind,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-subj',
      '/CN=test',
      ...names,
      '-keyout',
      'key',
      '-out',
      'cert',
    );
    const read = (file: string) => readFileSync(join(folder, file), 'utf8');
    return { ca: read('ca.pem'), cert: read('cert'), key: read('key') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
