import { readFileSync } from 'node:fs';

/** Descriptors for all that is neither a client's connection nor a provider's: files, pipes, the store, the listener. */
const OTHERS = 64;
/** A process that has no more than this could hardly do anything. */
const LEAST = 16;

/**
 * How many connections of clients there may be at once, by the descriptors that this process may open; Infinity: nobody knows.
 *
 * Each call may need a connection to a provider, too. If clients could take them all, no call could be carried out.
 */
export function connectionLimit(limits = readLimits()): number {
  const [, soft = ''] = /^Max open files\s+(\S+)/m.exec(limits) ?? [];
  const most = Number(soft);
  if (soft === '' || !Number.isFinite(most)) return Number.POSITIVE_INFINITY;
  return Math.max(LEAST, Math.floor((most - OTHERS) / 2));
}

/** Linux tells; elsewhere there is nothing to read. */
function readLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return '';
  }
}
