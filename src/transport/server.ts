import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import http2, { type ServerHttp2Session } from 'node:http2';
import net, { type AddressInfo, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { rawAnswer, refusalBody, refuseConnection } from './client-error.ts';
import { watchSession } from './http2-session.ts';
import { tellTrouble } from './listener-trouble.ts';
import { readPreface } from './preface.ts';
import { defaultLimits, headerBytes, http1Options, http2Options, type ServerLimits } from './server-limits.ts';

/** Answers a request; over HTTP/2 it is handed Node's compatible objects. */
export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** What a listener is made with. */
export interface ServerOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** PEM texts. With `clientCa`, only clients with a certificate of that authority are let in. Unset: clear text. */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer; readonly clientCa?: string | Buffer };
  readonly handler: RequestHandler;
  readonly limits?: Partial<ServerLimits>;
  readonly log: Logger;
}

/** A listener on one port, for HTTP/1 and HTTP/2. */
export interface Server {
  listen(): Promise<{ address: string; port: number }>;
  /** How many connections are open. */
  connections(): number;
  /** Accept nothing new, let what is in flight finish, and cut what has not after `timeoutMs`. */
  drain(timeoutMs: number): Promise<void>;
  /** Cut everything. */
  close(): Promise<void>;
}

/**
 * Serve HTTP/1.1 and HTTP/2 on one port: in clear text by the first bytes of a connection, in TLS by ALPN.
 *
 * The HTTP/1 server is the one that listens. One that is only fed connections never starts the sweep that enforces
 * `headersTimeout` and `requestTimeout`: a stalled header would stay open for ever.
 */
export function createServer({ host, port, tls, handler, limits: given, log }: ServerOptions): Server {
  const limits = { ...defaultLimits, ...given };
  /** Everything accepted. */
  const connections = new Set<Socket>();
  /** What may bring HTTP/1 requests; decrypted, in TLS. */
  const http1Sockets = new Set<Socket>();
  /** What is known of each of them since its first request, which is as good as its beginning: one that asks for nothing is closed soon. */
  const standings = new WeakMap<Duplex, ConnectionStanding>();
  const sessions = new Set<ServerHttp2Session>();
  let stopped: Promise<void> | undefined;

  const standingOf = (socket: Socket): ConnectionStanding => {
    let standing = standings.get(socket);
    if (standing === undefined) {
      const age = limits.maxConnectionAgeMs;
      standing = {
        oldAt: age === 0 ? Number.POSITIVE_INFINITY : performance.now() + age * jitter(),
        answer: undefined,
      };
      standings.set(socket, standing);
    }
    return standing;
  };

  const onRequest: RequestHandler = (request, response) => {
    if (request.httpVersionMajor === 1) {
      const standing = standingOf(request.socket);
      standing.answer = response;
      if (stopped || performance.now() >= standing.oldAt) closeAfter(response);
    } else if (headerBytes(request.rawHeaders) > limits.maxHeaderBytes) {
      // The HTTP/1 parser counts by itself; of HTTP/2 clients the limit is only asked, in SETTINGS.
      response
        .writeHead(431, { 'content-type': 'application/json' })
        .end(refusalBody('the request headers are too large'));
      return;
    }
    try {
      handler(request, response);
    } catch (error) {
      log.error({ err: error }, 'a request handler threw');
      if (response.headersSent) response.destroy();
      else response.writeHead(500, { 'content-type': 'application/json' }).end(refusalBody('internal error'));
    }
  };

  const onSession = (session: ServerHttp2Session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    watchSession(session, limits, limits.maxConnectionAgeMs * jitter());
    if (stopped) session.close();
  };

  const listener = tls ? createSecureListener(tls) : createClearListener();
  listener.prependListener('connection', (socket: Socket) => remember(connections, socket));
  listener.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) =>
    refuseConnection(error, socket, standings.get(socket)?.answer),
  );
  listener.on('connect', (_request: IncomingMessage, target: Duplex | ServerResponse) => refuseTunnel(target));
  const trouble = tellTrouble(log);
  listener.on('error', trouble.failed);
  if (Number.isFinite(limits.maxConnections)) listener.maxConnections = limits.maxConnections;
  listener.on('drop', () => trouble.dropped());

  function createClearListener(): http.Server {
    const server = http.createServer(http1Options(limits), onRequest);
    const sessionServer = http2.createServer(http2Options(limits));
    sessionServer.on('session', onSession);
    sessionServer.on('request', onRequest as unknown as Http2Handler);
    const [serveHttp1] = server.listeners('connection');
    server.removeAllListeners('connection');
    server.on('connection', (socket: Socket) => {
      remember(http1Sockets, socket);
      readPreface(socket, limits.firstByteTimeoutMs, (isHttp2) => {
        if (isHttp2) {
          http1Sockets.delete(socket);
          // Else the session outlives the client's FIN.
          socket.allowHalfOpen = false;
          sessionServer.emit('connection', socket);
        } else {
          serveHttp1?.call(server, socket);
          socket.resume();
        }
      });
    });
    return server;
  }

  function createSecureListener({ cert, key, clientCa }: TlsOptions): http2.Http2SecureServer {
    const server = http2.createSecureServer({
      ...http2Options(limits),
      ...http1Options(limits),
      allowHTTP1: true,
      handshakeTimeout: limits.firstByteTimeoutMs,
      cert,
      key,
      ...(clientCa && { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
    });
    server.on('session', onSession);
    server.on('request', onRequest as unknown as Http2Handler);
    server.on('secureConnection', (socket) => {
      if (socket.alpnProtocol === 'h2') return;
      if (stopped) socket.destroy();
      else remember(http1Sockets, socket);
    });
    return server;
  }

  /** Close the listening socket only: Node's own `close` also cuts answers that are ended but not yet sent. */
  const stop = () => {
    stopped ??= new Promise((resolve) => {
      net.Server.prototype.close.call(listener, () => {
        // Ends the sweep.
        listener.close();
        resolve();
      });
    });
    return stopped;
  };
  const cut = () => {
    for (const session of sessions) session.destroy();
    for (const socket of connections) socket.destroy();
  };

  return {
    listen: () =>
      new Promise((resolve, reject) => {
        listener.once('error', reject);
        listener.listen({ host, port, backlog: BACKLOG }, () => {
          listener.off('error', reject);
          const { address, port } = listener.address() as AddressInfo;
          resolve({ address, port });
        });
      }),
    connections: () => connections.size,
    async drain(timeoutMs) {
      const done = stop();
      for (const session of sessions) session.close();
      for (const socket of http1Sockets) {
        const answer = standings.get(socket)?.answer;
        if (answer === undefined || answer.writableFinished) socket.destroy();
        else closeAfter(answer);
      }
      const timer = setTimeout(cut, timeoutMs);
      await done;
      clearTimeout(timer);
    },
    async close() {
      const done = stop();
      cut();
      await done;
    },
  };
}

/** Not all at once: connections that came together would come together again. */
function jitter(): number {
  return 0.9 + 0.2 * Math.random();
}

/**
 * Connections that wait to be accepted; the system may allow fewer. With Node's 511 a burst of more is answered by silence, and
 * clients try again after 1, 3, 7 and 15 seconds.
 */
const BACKLOG = 4096;

/** An HTTP/1 connection that has brought a request. */
interface ConnectionStanding {
  /** When it is old, on the clock of `performance.now()`; Infinity: never. */
  readonly oldAt: number;
  /** The latest on it. */
  answer: ServerResponse | undefined;
}

type TlsOptions = NonNullable<ServerOptions['tls']>;
type Http2Handler = (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => void;

function remember<S extends Socket>(set: Set<S>, socket: S): void {
  set.add(socket);
  socket.once('close', () => set.delete(socket));
}

/** Let this be the last answer on its connection, and tell the client if that is still possible. */
function closeAfter(answer: ServerResponse): void {
  if (answer.headersSent) answer.once('close', () => answer.req.socket.destroySoon());
  else answer.setHeader('connection', 'close');
}

function refuseTunnel(target: Duplex | ServerResponse): void {
  const allow = 'GET, HEAD, POST, OPTIONS';
  if ('writeHead' in target) target.writeHead(405, { allow }).end();
  else target.end(rawAnswer('405 Method Not Allowed', 'tunnels are not made here', [`allow: ${allow}`]));
}
