import type { IncomingMessage, ServerResponse } from 'node:http';
import { cors } from '@connectrpc/connect';

/** How long a browser may remember the answer to a preflight. Chromium caps it at this. */
const MAX_AGE_SECONDS = 7_200;

const allowedMethods = 'GET, HEAD, POST, OPTIONS';

/** Answer headers that pages may read: ours, those of rate limits, and those of Connect and gRPC-Web. */
const exposedHeaders = [
  'x-request-id',
  'x-process-time',
  'openai-processing-ms',
  'x-selected-provider',
  'x-gateway-attempts',
  'x-gateway-dropped-params',
  'x-cache',
  'x-cache-key',
  'age',
  'idempotent-replayed',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  'ratelimit',
  'ratelimit-policy',
  'x-ratelimit-limit-requests',
  'x-ratelimit-remaining-requests',
  'x-ratelimit-reset-requests',
  'x-ratelimit-limit-tokens',
  'x-ratelimit-remaining-tokens',
  'x-ratelimit-reset-tokens',
  ...cors.exposedHeaders.map((name) => name.toLowerCase()),
].join(', ');

/** Put the headers of CORS on an answer to be; true if the request was a preflight, which is then answered. */
export type Cors = (request: IncomingMessage, response: ServerResponse) => boolean;

/**
 * Let pages of these origins call; `*` lets all.
 *
 * Keys travel in a header that the page sets itself, so credentials of the browser (cookies) are never allowed.
 */
export function createCors(origins: readonly string[]): Cors {
  const all = origins.includes('*');
  const allowed = new Set(origins.map((origin) => origin.toLowerCase()));

  return (request, response) => {
    const { origin } = request.headers;
    // What a cache may keep must say that it depends on the origin, also when this request had none.
    if (!all && (origin !== undefined || request.method === 'GET')) response.setHeader('vary', 'Origin');
    if (origin === undefined) return false;
    const admitted = all || allowed.has(origin.toLowerCase());
    if (admitted) {
      response.setHeader('access-control-allow-origin', all ? '*' : origin);
      response.setHeader('access-control-expose-headers', exposedHeaders);
    }
    const method = request.headers['access-control-request-method'];
    if (request.method !== 'OPTIONS' || method === undefined) return false;
    response.setHeader('vary', 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers');
    if (admitted) {
      const asked = request.headers['access-control-request-headers'];
      response.setHeader('access-control-allow-methods', allowedMethods);
      if (asked) response.setHeader('access-control-allow-headers', asked);
      response.setHeader('access-control-max-age', MAX_AGE_SECONDS);
    }
    response.writeHead(204).end();
    return true;
  };
}
