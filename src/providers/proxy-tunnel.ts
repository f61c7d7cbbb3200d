import { request as requestByHttp } from 'node:http';
import { request as requestByHttps } from 'node:https';
import { isIP } from 'node:net';
import type { buildConnector } from 'undici';
import { GatewayError } from '../errors.ts';

/** A proxy on the way to a provider. */
export interface ProxyOnTheWay {
  /** The provider's name, for messages. */
  readonly provider: string;
  /** An http or https URL, with a user and a password where the proxy wants them. */
  readonly proxy: string;
  readonly connectTimeoutMs: number;
}

/** The header that shows the user and password of a proxy's URL; empty: it has none. */
export function proxyAuthorization(proxy: string): Readonly<Record<string, string>> {
  const { username, password } = new URL(proxy);
  if (username === '' && password === '') return {};
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` };
}

/** Connect by asking a proxy for a tunnel (CONNECT), and then as `connect` does, in the tunnel. */
export function tunnelThrough(way: ProxyOnTheWay, connect: buildConnector.connector): buildConnector.connector {
  const { protocol, hostname, port } = new URL(way.proxy);
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
      headers: { host: authority, ...proxyAuthorization(way.proxy) },
      agent: false,
    });
    const timer = setTimeout(() => asking.destroy(new Error('timeout')), way.connectTimeoutMs);
    asking.once('connect', ({ statusCode = 0 }, socket) => {
      clearTimeout(timer);
      if (statusCode >= 200 && statusCode < 300) return connect({ ...options, httpSocket: socket }, callback);
      socket.destroy();
      callback(proxyFault(way.provider, `answered with status ${statusCode}`), null);
    });
    asking.once('error', (cause) => {
      clearTimeout(timer);
      callback(proxyFault(way.provider, 'let no connection through', cause), null);
    });
    asking.end();
  };
}

/** The failure of a connection for which the proxy is to blame. */
export function proxyFault(provider: string, what: string, cause?: Error): GatewayError {
  return new GatewayError('provider_unavailable', `the proxy on the way to ${provider} ${what}`, { provider, cause });
}
