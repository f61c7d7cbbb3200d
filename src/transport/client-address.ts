import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, SocketAddress } from 'node:net';

/** Tells from which address a request comes; empty: its connection is gone already. */
export type AddressOf = (request: IncomingMessage) => string;

/**
 * Tell callers' addresses, also of those who come through proxies.
 *
 * `X-Forwarded-For` is read from its right end, where the nearest proxy writes: as long as an address is that of a trusted proxy,
 * the one that this proxy saw counts. What a caller puts into the header itself stands further left and is never reached.
 * Nothing else tells an address: neither `Forwarded` nor `X-Real-IP`, which proxies pass on as they came.
 */
export function addressReader(trustedProxies: readonly string[]): AddressOf {
  if (trustedProxies.length === 0) return peerOf;
  const trusted = new BlockList();
  for (const network of trustedProxies) {
    const [address = '', bits] = network.split('/');
    if (bits === undefined) trusted.addAddress(address, familyOf(address));
    else trusted.addSubnet(address, Number(bits), familyOf(address));
  }
  return (request) => {
    let address = peerOf(request);
    const given = request.headers['x-forwarded-for'];
    if (given === undefined) return address;
    const seen = String(given).split(',');
    while (address !== '' && trusted.check(address, familyOf(address))) {
      const before = addressIn(seen.pop() ?? '');
      // Not an address, or nothing more: whoever was reached last is the caller.
      if (before === undefined) return address;
      address = before;
    }
    return address;
  };
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return address.includes(':') ? 'ipv6' : 'ipv4';
}

/** Who is at the other end of the connection. */
function peerOf({ socket }: IncomingMessage): string {
  return plain(socket?.remoteAddress ?? '');
}

/** An IPv4 address that a listener on `::` saw, as that of IPv4; the zone of a link-local one goes. */
function plain(address: string): string {
  return address.includes(':') ? address.replace(/^::ffff:(?=[\d.]+$)/i, '').replace(/%.*$/, '') : address;
}

/** The address in an entry of the header, which may have a port; undefined: there is none. */
function addressIn(entry: string): string | undefined {
  const text = entry.trim();
  const [, address = text] = /^\[([^\]]*)\](?::\d+)?$/.exec(text) ?? /^([\d.]+):\d+$/.exec(text) ?? [];
  const family = isIP(address);
  if (family === 0) return undefined;
  // In one form: a caller who may write an address in many ways would be many callers.
  return family === 4 ? address : plain(new SocketAddress({ address, family: 'ipv6' }).address);
}
