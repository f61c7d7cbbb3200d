import type { JSONWebKeySet } from 'jose';
import type { HttpClient } from '../providers/http.ts';
import { Stop } from '../stop.ts';

/** No issuer takes longer, unless it is in trouble; meanwhile a caller waits. */
const TIMEOUT_MS = 5_000;

/** Fetch a key set: no redirects, and nothing but 200 with JSON. */
export async function downloadKeySet(client: Pick<HttpClient, 'fetch'>, url: string): Promise<JSONWebKeySet> {
  const { pathname, search } = new URL(url);
  const stop = new Stop();
  const timer = setTimeout(() => stop.abort(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS);
  try {
    const { status, body } = await client.fetch({
      method: 'GET',
      path: pathname + search,
      headers: { accept: 'application/jwk-set+json, application/json' },
      signal: stop,
    });
    if (status !== 200) throw new Error(`answered with status ${status}`);
    return parse(body.toString());
  } finally {
    clearTimeout(timer);
  }
}

/** Node's own message would quote what came. */
function parse(text: string): JSONWebKeySet {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('answered with something that is no JSON');
  }
}
