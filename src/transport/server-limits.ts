import type http from 'node:http';
import type http2 from 'node:http2';

/** What a client may take of us before anybody knows who it is. */
export interface ServerLimits {
  /** For the first byte of a connection, and for a TLS handshake. */
  readonly firstByteTimeoutMs: number;
  /** For the headers of a request. */
  readonly headerTimeoutMs: number;
  /** For a whole request, body included. */
  readonly requestTimeoutMs: number;
  /** For the next request on a connection. */
  readonly idleTimeoutMs: number;
  /** Request line and headers together. */
  readonly maxHeaderBytes: number;
  /** Requests at once on an HTTP/2 connection. */
  readonly maxConcurrentStreams: number;
  /** How old a connection may become, give or take a tenth, before its client is asked for another one; 0: any age. */
  readonly maxConnectionAgeMs: number;
  /** Connections at once; more are closed as soon as they come. */
  readonly maxConnections: number;
}

/** Limits where the configuration has none. Balancers keep connections for 60 s: the side that closes first must be theirs. */
export const defaultLimits: ServerLimits = {
  firstByteTimeoutMs: 10_000,
  headerTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  idleTimeoutMs: 65_000,
  maxHeaderBytes: 16_384,
  maxConcurrentStreams: 100,
  maxConnectionAgeMs: 0,
  maxConnections: Number.POSITIVE_INFINITY,
};

/** The limits as Node's HTTP/1 server takes them. */
export function http1Options(limits: ServerLimits) {
  return {
    headersTimeout: limits.headerTimeoutMs,
    requestTimeout: Math.max(limits.requestTimeoutMs, limits.headerTimeoutMs),
    connectionsCheckingInterval: Math.min(1_000, Math.ceil(limits.headerTimeoutMs / 4)),
    keepAliveTimeout: limits.idleTimeoutMs,
    maxHeaderSize: limits.maxHeaderBytes,
    noDelay: true,
    // Finds clients that vanished without a word while they wait for an answer.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  } satisfies http.ServerOptions;
}

/** The limits as Node's HTTP/2 server takes them. */
export function http2Options(limits: ServerLimits) {
  return {
    settings: { maxConcurrentStreams: limits.maxConcurrentStreams, maxHeaderListSize: limits.maxHeaderBytes },
    maxHeaderListPairs: 128,
    maxSessionMemory: 16,
    // Rapid reset (CVE-2023-44487): so many resets at once, then so many a second, else the session ends.
    streamResetBurst: 1_000,
    streamResetRate: 33,
  } satisfies http2.ServerOptions;
}

/** The size of a header list as HTTP/2 counts it: RFC 9113, section 6.5.2. */
export function headerBytes(rawHeaders: readonly string[]): number {
  let bytes = 16 * rawHeaders.length;
  for (const text of rawHeaders) bytes += text.length;
  return bytes;
}
