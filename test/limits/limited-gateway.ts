import { createHash } from 'node:crypto';
import { type GatewayProcess, startGateway, startGatewayProcess, type TestGateway } from '../support/gateway.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { type ScriptedUpstream, saying } from '../support/scripted-upstream.ts';

/** What a test says of the keys and limits of a gateway. */
export interface LimitedOptions {
  readonly upstream: ScriptedUpstream;
  /** Each named after its key: `team` has the key `sk-team`. */
  readonly keys?: Record<string, object>;
  readonly tiers?: readonly object[];
  readonly limits?: object;
  readonly state?: object;
  /** USD for a million tokens. */
  readonly prices?: { readonly input: number; readonly output: number };
}

/** The limits of this machine's environment are not wanted here: an empty variable is unset. */
const environment = { DEFAULT_RATE_LIMIT_CAPACITY: '' };

/** The configuration of a gateway with keys and limits in front of a scripted upstream. */
export function limitedConfig({ upstream, keys = {}, tiers = [], limits, state, prices }: LimitedOptions) {
  return {
    providers: [scriptedProvider('scripted', upstream)],
    models: prices
      ? [{ provider: 'scripted', id: 'scripted-model', input_price: prices.input, output_price: prices.output }]
      : [],
    keys: Object.entries(keys).map(([name, more]) => ({ name, sha256: digest(`sk-${name}`), ...more })),
    limits: { tiers, ...limits },
    ...(state && { state }),
    retry: { attempts_per_target: 1, attempts: 1 },
  };
}

/** Start it in this process. How late the event loop is says nothing then: the test and the upstream are in it, too. */
export function startLimited(options: LimitedOptions): ReturnType<typeof startGateway> {
  return startGateway({ ...limitedConfig(options), overload: { event_loop_delay: '0s' } }, environment);
}

/** Start it as a process of its own. */
export function startLimitedProcess(options: LimitedOptions): Promise<GatewayProcess> {
  return startGatewayProcess(limitedConfig(options), environment);
}

function digest(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

export function authorization(name: string): Record<string, string> {
  return { authorization: `Bearer sk-${name}` };
}

/** What came of a call to the REST door. */
export interface Answered {
  readonly status: number;
  readonly tookMs: number;
  readonly headers: Headers;
  /** The body as JSON. */
  readonly body: { readonly error?: { readonly metadata?: { readonly reason?: string }; readonly message?: string } };
}

/** Ask a gateway for a completion, as the caller with this key. */
export async function ask({ url }: Pick<TestGateway, 'url'>, key: string, body: object = {}): Promise<Answered> {
  const began = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key !== '' && authorization(key)) },
    body: JSON.stringify({ model: 'scripted-model', messages: [{ role: 'user', content: 'hi' }], ...body }),
  });
  const answer = await response.json();
  return {
    status: response.status,
    headers: response.headers,
    body: answer as Answered['body'],
    tookMs: performance.now() - began,
  };
}

/** An upstream that answers at once, with 5 tokens of prompt and 2 of answer. */
export function answering(upstream: ScriptedUpstream): ScriptedUpstream {
  upstream.script(saying('hello ', 'there'));
  return upstream;
}
