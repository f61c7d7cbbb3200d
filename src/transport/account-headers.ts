import type { Account } from '../completion.ts';

/** The headers that tell what the cache did for a call, and whether its answer is that of an earlier one. */
export function accountHeaders({ cache, repeated }: Account): Record<string, string> {
  const headers: Record<string, string> = {};
  if (cache) {
    headers['x-cache'] = cache.status.toUpperCase();
    if (cache.key !== undefined) headers['x-cache-key'] = cache.key;
    if (cache.ageMs !== undefined) headers.age = String(Math.floor(cache.ageMs / 1000));
  }
  return repeated ? Object.assign(headers, replayed) : headers;
}

const replayed = { 'idempotent-replayed': 'true' };

/** The same for a call that failed: it may have failed earlier, and what it failed with is no answer of the cache's. */
export function failureHeaders(account: Account | undefined): Record<string, string> {
  return account?.repeated ? replayed : {};
}
