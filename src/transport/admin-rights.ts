import type { Principal } from '../completion.ts';
import { GatewayError } from '../errors.ts';

/** Refuse whoever is not an administrator. */
export function requireAdmin({ admin, name }: Principal): void {
  if (!admin) throw new GatewayError('permission_denied', `the key "${name}" is not an admin key`);
}
