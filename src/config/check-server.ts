import { existsSync, readFileSync, statSync } from 'node:fs';
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { dirname } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { ServerConfig, StateConfig, TlsConfig } from '../../gen/llmgateway/v1/config_pb.ts';
import { parseRedisUrl, redisUrlForms } from '../store/redis-url.ts';
import type { Findings } from './findings.ts';
import { show } from './show.ts';

/** Refuse listeners that could not be opened, and origins and networks that nothing could ever match. */
export function checkServer(server: ServerConfig | undefined, findings: Findings): void {
  if (!server) return;
  if (isIP(server.host) === 0 && !/^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$/.test(server.host)) {
    const shown = findings.shown('server.host', server.host);
    findings.refuse('server.host', `must be an IP address or a host name, without port, not ${shown}`);
  }
  for (const [index, origin] of server.corsOrigins.entries()) {
    const path = `server.cors_origins[${index}]`;
    const problem = problemWithOrigin(origin, findings.shown(path, origin));
    if (problem) findings.refuse(path, problem);
  }
  for (const [index, network] of server.trustedProxies.entries()) {
    if (isNetwork(network)) continue;
    const path = `server.trusted_proxies[${index}]`;
    const shown = findings.shown(path, network);
    findings.refuse(path, `must be an IP address or a network such as 10.0.0.0/8, not ${shown}`);
  }
  if (server.tls) checkTls(server.tls, findings);
}

function problemWithOrigin(origin: string, shown: string): string | undefined {
  if (origin === '*') return undefined;
  const expected = 'must be * or an origin such as https://app.example.com';
  if (origin.includes('*')) return `${expected}, not ${shown}; patterns are not supported`;
  const url = URL.parse(origin);
  if (url && /^https?:$/.test(url.protocol) && url.origin === origin.toLowerCase()) return undefined;
  const isNear = url && /^https?:$/.test(url.protocol) && shown === show(origin);
  const fix = isNear ? `; did you mean "${url.origin}"?` : '';
  return `${expected}, not ${shown}${fix}`;
}

function isNetwork(text: string): boolean {
  const [, address = '', bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const most = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1;
  return Number(bits ?? 0) <= most;
}

function checkTls({ certFile, keyFile }: TlsConfig, findings: Findings): void {
  const cert = readPem(certFile, 'server.tls.cert_file', findings);
  const key = readPem(keyFile, 'server.tls.key_file', findings);
  if (!cert || !key) return;
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    const reason = (error as Error).message.split('::').at(-1);
    findings.refuse('server.tls', `cert_file and key_file are no certificate with its key: ${reason}`);
  }
}

function readPem(file: string, path: string, findings: Findings): Buffer | undefined {
  if (file === '') return undefined;
  try {
    return readFileSync(file);
  } catch (error) {
    findings.refuse(path, `cannot read ${findings.shown(path, file)}: ${(error as NodeJS.ErrnoException).code}`);
    return undefined;
  }
}

/** Refuse stores that could not be opened. The URL of Redis is never shown: it may hold a password. */
export function checkState(state: StateConfig | undefined, findings: Findings): void {
  if (!state) return;
  const { redisUrl, sqlitePath } = state;
  if (redisUrl !== '' && parseRedisUrl(redisUrl) === undefined) {
    findings.refuse('state.redis_url', `must be a URL such as ${redisUrlForms}`);
  }
  if (sqlitePath === '') return;
  if (redisUrl !== '') findings.refuse('state.sqlite_path', 'is for a single node: not together with redis_url');
  const shown = findings.shown('state.sqlite_path', sqlitePath);
  if (!existsSync(dirname(sqlitePath))) {
    findings.refuse('state.sqlite_path', `the folder of ${shown} does not exist`);
  } else if (statSync(sqlitePath, { throwIfNoEntry: false })?.isDirectory()) {
    findings.refuse('state.sqlite_path', `must be a file, and ${shown} is a folder`);
  }
}
