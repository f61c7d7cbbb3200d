import { BlockList, isIP } from 'node:net';

/** How the outside is reached: what the environment says in HTTP_PROXY, HTTPS_PROXY and NO_PROXY. */
export interface ProxySettings {
  /** URL of the proxy for http; undefined: none. */
  readonly httpProxy?: string | undefined;
  /** URL of the proxy for https; undefined: none. */
  readonly httpsProxy?: string | undefined;
  /** What is reached directly: see `isExempt`. */
  readonly noProxy: readonly string[];
}

/** An entry of NO_PROXY that sends loopback addresses through the proxy, too, as browsers know it. */
const loopbackToo = '<-loopback>';

/** The proxy on the way to a base URL; undefined: none. */
export function proxyFor(baseUrl: string, { httpProxy, httpsProxy, noProxy }: ProxySettings): string | undefined {
  const { protocol, hostname, port } = new URL(baseUrl);
  const proxy = protocol === 'https:' ? httpsProxy : httpProxy;
  if (proxy === undefined) return undefined;
  const host = hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
  if (isLoopback(host) && !noProxy.includes(loopbackToo)) return undefined;
  const givenPort = port || (protocol === 'https:' ? '443' : '80');
  return noProxy.some((entry) => isExempt(entry.toLowerCase(), host, givenPort)) ? undefined : proxy;
}

/** A proxy's loopback is not ours: whatever is there would never be found. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || host === '::1' || /^127(\.\d+){3}$/.test(host);
}

/**
 * Whether an entry of NO_PROXY means a host:
 *
 * - `*` means every one,
 * - `example.com` and `.example.com` mean the domain and all below it, `*.example.com` only what is below it,
 * - `10.1.2.3` and `::1` mean an address, `10.0.0.0/8` a network,
 * - and each may end in a port (`example.com:8443`, `[::1]:8443`), which then must be the same.
 */
function isExempt(entry: string, host: string, port: string): boolean {
  const [, name = entry, entryPort] =
    /^\[(.*)\](?::(\d+))?$/.exec(entry) ?? /^([^:]*):(\d+)$/.exec(entry) ?? /^(.*)$/.exec(entry) ?? [];
  if (entryPort !== undefined && entryPort !== port) return false;
  if (name === '*') return true;
  const family = isIP(host);
  if (family !== 0) return isAddressIn(name, host, family === 6 ? 'ipv6' : 'ipv4');
  const domain = name.replace(/^\*?\./, '').replace(/\.$/, '');
  return domain !== '' && (host.endsWith(`.${domain}`) || (host === domain && !name.startsWith('*')));
}

function isAddressIn(entry: string, address: string, family: 'ipv4' | 'ipv6'): boolean {
  const [network = '', length] = entry.split('/');
  if (isIP(network) !== (family === 'ipv6' ? 6 : 4)) return false;
  const bits = length === undefined ? (family === 'ipv6' ? 128 : 32) : Number(length);
  if (!(bits >= 0 && bits <= (family === 'ipv6' ? 128 : 32))) return false;
  const list = new BlockList();
  list.addSubnet(network, bits, family);
  return list.check(address, family);
}
