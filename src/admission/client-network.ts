/**
 * The network by which a client is told from others: an IPv4 address by itself, of IPv6 the first 64 bits.
 *
 * Whoever has one address of IPv6 has as a rule 2^64 of them, and would be as many clients.
 */
export function clientNetwork(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail ? tail.split(':') : [];
  // `::` stands for as many groups of zeros as are missing; an IPv4 address at the end takes the place of two groups.
  const missing = tail === undefined ? 0 : 8 - before.length - after.length - (address.includes('.') ? 1 : 0);
  const groups = [...before, ...Array.from({ length: missing }, () => '0'), ...after];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
