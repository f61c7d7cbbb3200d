/** Where a Redis, or several that belong together, can be reached. */
export interface RedisPlace {
  readonly kind: 'single' | 'sentinel' | 'cluster';
  readonly tls: boolean;
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
  /** What the sentinels call the master. */
  readonly master: string;
}

/** What a URL of Redis looks like. */
export const redisUrlForms =
  'redis://localhost:6379/0, rediss://…, redis+sentinel://host:26379,host:26379/master or redis+cluster://host:6379,host:6379';

const SERVER_PORT = 6379;
const SENTINEL_PORT = 26379;

/**
 * Read the URL of a Redis; undefined: it is none.
 *
 * - `redis://[user:password@]host[:port][/database]`, with TLS `rediss://`.
 * - `redis+sentinel://…host:port,host:port/master[/database]`. User and password are those of the servers, not of the sentinels.
 * - `redis+cluster://…host:port,host:port`: some of the cluster's nodes, which know the others.
 */
export function parseRedisUrl(url: string): RedisPlace | undefined {
  const [, tls, form = 'single', rest = ''] = /^redis(s?)(?:\+(sentinel|cluster))?:\/\/([^?#\s]+)$/i.exec(url) ?? [];
  const kind = form.toLowerCase() as RedisPlace['kind'];
  const at = rest.lastIndexOf('@');
  const [hosts = '', ...path] = rest.slice(at + 1).split('/');
  if (path.at(-1) === '') path.pop();
  const master = kind === 'sentinel' ? path.shift() : '';
  const [database = '0', ...more] = path;
  const nodes = hosts.split(',').map((host) => nodeOf(host, kind === 'sentinel' ? SENTINEL_PORT : SERVER_PORT));
  const known = nodes.filter((node) => node !== undefined);
  if (known.length < nodes.length || (kind === 'single' && nodes.length > 1)) return undefined;
  if (master === undefined || more.length > 0 || !/^\d{1,5}$/.test(database)) return undefined;
  if (kind === 'cluster' && database !== '0') return undefined;
  const credentials = at < 0 ? {} : credentialsOf(rest.slice(0, at));
  if (credentials === undefined) return undefined;
  return {
    kind,
    tls: tls !== '',
    nodes: known,
    username: credentials.username,
    password: credentials.password,
    database: Number(database),
    master,
  };
}

function nodeOf(text: string, defaultPort: number): RedisPlace['nodes'][number] | undefined {
  const [, bracketed, plain, port] = /^(?:\[([\da-f:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i.exec(text) ?? [];
  const host = bracketed ?? plain;
  const number = port === undefined ? defaultPort : Number(port);
  return host !== undefined && number > 0 && number < 65_536 ? { host, port: number } : undefined;
}

function credentialsOf(text: string): { username?: string; password?: string } | undefined {
  const colon = text.indexOf(':');
  try {
    const username = decodeURIComponent(colon < 0 ? text : text.slice(0, colon));
    const password = colon < 0 ? '' : decodeURIComponent(text.slice(colon + 1));
    return { ...(username !== '' && { username }), ...(password !== '' && { password }) };
  } catch {
    return undefined; // a percent sign that encodes nothing
  }
}
