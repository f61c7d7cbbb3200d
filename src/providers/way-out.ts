import { request as requestByHttp } from 'node:http';
import { request as requestByHttps } from 'node:https';
import { isIP } from 'node:net';
import { buildConnector } from 'undici';
import { GatewayError } from '../errors.ts';

/** Where a provider is, and what is in between. */
export interface Destination {
  /** The provider's name, for messages. */
  readonly provider: string;
  /** Only its origin counts. */
  readonly baseUrl: string;
  /** An http or https URL, with a user and a password where the proxy wants them; undefined: there is no proxy. */
  readonly proxy?: string | undefined;
  readonly connectTimeoutMs: number;
}

/** How requests get to a provider. */
export interface WayOut {
  /** Who is at the other end of the connection: the provider, or a proxy that hands requests on. */
  readonly origin: string;
  readonly connect: buildConnector.connector;
  /** What a proxy needs to know to hand a request on; undefined: nothing stands between. */
  readonly forward?: { readonly origin: string; readonly headers: Readonly<Record<string, string>> };
}

/** The way to a provider. Through a proxy, https goes in a tunnel; http is handed to the proxy with the whole URL. */
export function wayOut(destination: Destination): WayOut {
  const { baseUrl, proxy, connectTimeoutMs } = destination;
  const { origin, protocol, host } = new URL(baseUrl);
  const connect = buildConnector({ timeout: connectTimeoutMs, allowH2: false });
  if (proxy === undefined) return { origin, connect };
  if (protocol === 'https:') return { origin, connect: tunnelThrough(proxy, destination, connect) };
  return {
    origin: new URL(proxy).origin,
    connect: connectToProxy(destination, connect),
    forward: { origin, headers: { host, ...authorization(proxy) } },
  };
}

/** The header that shows the user and password of a proxy's URL. */
function authorization(proxy: string): Readonly<Record<string, string>> {
  const { username, password } = new URL(proxy);
  if (username === '' && password === '') return {};
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` };
}

/** Connect by asking a proxy for a tunnel (CONNECT), and then as `connect` does, in the tunnel. */
function tunnelThrough(
  proxy: string,
  { provider, connectTimeoutMs }: Destination,
  connect: buildConnector.connector,
): buildConnector.connector {
  const { protocol, hostname, port } = new URL(proxy);
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  const request = protocol === 'https:' ? requestByHttps : requestByHttp;
  return (options, callback) => {
    const authority = options.port ? (options.host ?? '') : `${options.host}:443`;
    const asking = request({
      method: 'CONNECT',
      host,
      port,
      // Else Node would want the provider's name in the proxy's certificate, since that is in the header.
      servername: isIP(host) ? '' : host,
      path: authority,
      headers: { host: authority, ...authorization(proxy) },
      agent: false,
    });
    const timer = setTimeout(() => asking.destroy(new Error('timeout')), connectTimeoutMs);
    asking.once('connect', ({ statusCode = 0 }, socket) => {
      clearTimeout(timer);
      if (statusCode >= 200 && statusCode < 300) return connect({ ...options, httpSocket: socket }, callback);
      socket.destroy();
      callback(proxyFault(provider, `answered with status ${statusCode}`), null);
    });
    asking.once('error', (cause) => {
      clearTimeout(timer);
      callback(proxyFault(provider, 'let no connection through', cause), null);
    });
    asking.end();
  };
}

/** Connect to a proxy itself: it is the proxy's certificate that must be right, and the proxy that fails. */
function connectToProxy({ provider }: Destination, connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) =>
    connect({ ...options, servername: '' }, (...[cause, socket]) => {
      if (cause) callback(proxyFault(provider, 'let no connection through', cause), null);
      else callback(null, socket);
    });
}

function proxyFault(provider: string, what: string, cause?: Error): GatewayError {
  return new GatewayError('provider_unavailable', `the proxy on the way to ${provider} ${what}`, {
    provider,
    unsent: true,
    cause,
  });
}
