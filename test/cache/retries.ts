import { setTimeout as pause } from 'node:timers/promises';
import { Agent, fetch } from 'undici';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway.ts';
import { scriptedProvider } from '../support/scripted-gateway.ts';
import { saying, startScriptedUpstream } from '../support/scripted-upstream.ts';

/** How hard to try. */
export interface Retries {
  readonly redisUrl: string;
  /** Calls that mean the same, and how many different ones there are. */
  readonly bodies: number;
  readonly retriesOfEach: number;
  /** How many callers try at the same time. */
  readonly callers: number;
  /** How often one of the two replicas is killed, and how long apart. */
  readonly kills: number;
  readonly killEveryMs: number;
}

/** What came of it. */
export interface Retried {
  readonly answered: number;
  /** Tries that met a replica that was gone, or about to be. */
  readonly lost: number;
  /** How often bodies reached the upstream in all. */
  readonly asked: number;
  /** Bodies that reached the upstream when their outcome had been told to somebody. */
  readonly askedInVain: readonly string[];
  /** Bodies that were answered in two ways. */
  readonly contradicted: readonly string[];
}

/**
 * Call two replicas with the same idempotency keys again and again, and kill one of them now and then.
 *
 * Every answer of the upstream is another one, so that two of them cannot be taken for one.
 */
export async function retryUnderKills(retries: Retries): Promise<Retried> {
  const { redisUrl, bodies, retriesOfEach, callers, kills, killEveryMs } = retries;
  const upstream = await startScriptedUpstream();
  const known = new Map<string, string>();
  const askedInVain = new Set<string>();
  const contradicted = new Set<string>();
  let asked = 0;
  upstream.script(async (exchange) => {
    const { messages } = exchange.request.body as { messages: [{ content: string }] };
    const [{ content }] = messages;
    if (known.has(content)) askedInVain.add(content);
    asked++;
    await pause(20 + 40 * Math.random());
    await saying(`answer ${asked} to ${content}`)(exchange);
  });
  const config = {
    providers: [scriptedProvider('first', upstream)],
    state: { redis_url: redisUrl, key_prefix: `retries${process.pid}:` },
  };
  const replicas: GatewayProcess[] = await Promise.all([startGatewayProcess(config), startGatewayProcess(config)]);
  const agent = new Agent({ connections: callers });
  let lost = 0;

  const tryOnce = async (content: string): Promise<void> => {
    for (;;) {
      const replica = replicas[Math.random() < 0.5 ? 0 : 1];
      const body = JSON.stringify({ model: 'scripted-model', messages: [{ role: 'user', content }] });
      const headers = { 'content-type': 'application/json', 'idempotency-key': content };
      const url = `${replica?.url}/v1/chat/completions`;
      const answer = await fetch(url, { method: 'POST', headers, body, dispatcher: agent })
        .then(async (response) => (response.status === 200 ? response.text() : undefined))
        .catch(() => undefined);
      if (answer !== undefined) {
        const text = /"content":"([^"]*)"/.exec(answer)?.[1] ?? answer;
        if ((known.get(content) ?? text) !== text) contradicted.add(content);
        known.set(content, text);
        return;
      }
      lost++;
      await pause(20);
    }
  };

  const total = bodies * retriesOfEach;
  let begun = 0;
  const call = async (): Promise<void> => {
    while (begun < total) await tryOnce(`question ${Math.floor(begun++ / retriesOfEach)}`);
  };
  const killing = (async () => {
    for (let times = 0; times < kills && begun < total; times++) {
      await pause(killEveryMs);
      await replicas[times % 2]?.close();
      replicas[times % 2] = await startGatewayProcess(config);
    }
  })();
  try {
    await Promise.all(Array.from({ length: callers }, call));
    await killing;
  } finally {
    await agent.destroy();
    for (const replica of replicas) await replica.close();
    await upstream.close();
  }
  return { answered: total, lost, asked, askedInVain: [...askedInVain], contradicted: [...contradicted] };
}
