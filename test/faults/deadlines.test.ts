import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Door } from '../support/doors.ts';
import { grpcFrame, httpPost, sendHttp2, sendRaw } from '../support/raw-http.ts';
import { scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import {
  chunk,
  type Exchange,
  type ScriptedUpstream,
  saying,
  startScriptedUpstream,
} from '../support/scripted-upstream.ts';
import { watchStandstills } from '../support/standstill.ts';

/** The shortest that every door can ask for, and how far off its end may be. */
const DEADLINE_MS = 1_000;
const SLACK_MS = 100;

const rpc = '/llmgateway.v1.CompletionService';

/** Ways to call a model with a deadline, each of which resolves once the call is over, with the words that came and the reason. */
function ways(port: number): Record<string, (model: string) => Promise<{ tookMs: number; body: string }>> {
  const chat = (model: string, more: object) =>
    JSON.stringify({ model, timeout: DEADLINE_MS / 1_000, messages: [{ role: 'user', content: 'hi' }], ...more });
  const message = (model: string) =>
    JSON.stringify({ request: { model, messages: [{ role: 'ROLE_USER', parts: [{ text: 'hi' }] }] } });
  const grpc = { 'content-type': 'application/grpc+json', te: 'trailers', 'grpc-timeout': `${DEADLINE_MS}m` };
  const overHttp2 = async (method: string, model: string) => {
    const answer = await sendHttp2(port, { ':path': `${rpc}/${method}`, ...grpc }, grpcFrame(message(model)));
    return { tookMs: answer.tookMs, body: JSON.stringify([answer.headers, answer.trailers]) };
  };
  return {
    'openai unary': (model) => sendRaw(port, httpPost('/v1/chat/completions', chat(model, {}))),
    'openai stream': (model) => sendRaw(port, httpPost('/v1/chat/completions', chat(model, { stream: true }))),
    'native unary': (model) => sendRaw(port, httpPost('/completion', chat(model, {}))),
    'native stream': (model) => sendRaw(port, httpPost('/completion', chat(model, { stream: true }))),
    'connect unary': (model) =>
      sendRaw(port, httpPost(`${rpc}/CreateCompletion`, message(model), { 'connect-timeout-ms': `${DEADLINE_MS}` })),
    'connect stream': (model) =>
      sendRaw(
        port,
        httpPost(`${rpc}/StreamCompletion`, grpcFrame(message(model)), {
          'content-type': 'application/connect+json',
          'connect-timeout-ms': `${DEADLINE_MS}`,
        }),
      ),
    'grpc unary': (model) => overHttp2('CreateCompletion', model),
    'grpc stream': (model) => overHttp2('StreamCompletion', model),
  };
}

let first: ScriptedUpstream;
let second: ScriptedUpstream;
beforeEach(async () => {
  first = await startScriptedUpstream();
  second = await startScriptedUpstream();
});
afterEach(() => Promise.all([first.close(), second.close()]));

async function start(more: Record<string, object> = {}, ofFirst: object = {}) {
  const targets = [
    { provider: 'first', model: '' },
    { provider: 'second', model: '' },
  ];
  return startGatewayOver([{ ...scriptedProvider('first', first), ...ofFirst }, scriptedProvider('second', second)], {
    routes: [
      { model: 'both-*', strategy: 'failover', targets },
      { model: 'alone-*', targets: targets.slice(0, 1) },
    ],
    ...more,
  });
}

const silent = () => {};
const refusing =
  (status: number, headers: Record<string, string> = {}) =>
  (exchange: Exchange) =>
    exchange.json({ error: { message: 'no' } }, status, headers);

interface Situation {
  readonly more?: Record<string, object>;
  readonly ofFirst?: object;
  readonly script: (exchange: Exchange) => unknown;
  readonly scriptOfSecond?: (exchange: Exchange) => unknown;
  readonly model: string;
  /** What has to be the case before the calls. */
  readonly before?: (door: Door) => unknown;
}

const situations: Record<string, Situation> = {
  'while a provider is silent': { script: silent, model: 'alone-' },
  'while the second of two silent ones is': {
    more: { timeouts: { first_token: '600ms', attempt_unary: '600ms' } },
    script: silent,
    scriptOfSecond: silent,
    model: 'both-',
  },
  'in a stream that goes on and on': {
    script: async (exchange) => {
      const gone = exchange.closed.then(() => true);
      while (!(await Promise.race([gone, exchange.event(chunk({ content: 'more ' })).then(() => pause(50))])));
    },
    model: 'alone-',
  },
  'in backoffs between retries': {
    more: {
      retry: { attempts: 10, attempts_per_target: 10, base_delay: '250ms', max_delay: '300ms', budget_ratio: 1 },
    },
    script: refusing(500),
    model: 'alone-',
  },
  'in a line for a place': {
    ofFirst: { limits: { max_concurrent: 1 } },
    more: { retry: { attempts: 3 } },
    script: silent,
    model: 'alone-',
    before: (door) => void door.ask({ model: 'alone-holder' }),
  },
};

describe('every call is over within 100 ms of its deadline', () => {
  it.each(Object.entries(situations))('%s', { timeout: 30_000 }, async (_, situation) => {
    const { more, ofFirst, script, scriptOfSecond = silent, model, before } = situation;
    const { gateway, doors, close } = await start(more, ofFirst);
    first.script(script);
    second.script(scriptOfSecond);
    before?.(doors.named('openai unary'));
    if (before) await expect.poll(() => first.requests.length).toBe(1);
    await warmUp(gateway.url);

    const standstills = watchStandstills();
    const calls = await Promise.all(
      Object.entries(ways(gateway.port)).map(async ([name, call], at) => {
        const began = performance.now();
        const answer = await call(`${model}${at}`);
        return { name, ...answer, tookMs: answer.tookMs - standstills.since(began) };
      }),
    );
    standstills.stop();
    for (const { name, tookMs, body } of calls) {
      // Those that end sooner have nothing left to wait for.
      expect([name, Math.round(tookMs)]).toEqual([
        name,
        expect.toSatisfy((ms: number) => ms <= DEADLINE_MS + SLACK_MS),
      ]);
      if (situation.before === undefined && !name.includes('grpc')) {
        expect([name, body]).toEqual([name, expect.stringMatching(/deadline_exceeded|provider_unavailable|more /)]);
      }
    }
    await doors.close(); // ends the one that holds the place
    await expect.poll(() => first.openAnswers() + second.openAnswers()).toBe(0);
    await expect.poll(() => gateway.app.inFlight()).toBe(0);
    await close();
  });

  it('and a wait that would end after it is not begun', async () => {
    const { gateway, close } = await start();
    first.script(refusing(429, { 'retry-after': '3' }));
    for (const [name, call] of Object.entries(ways(gateway.port))) {
      const { tookMs } = await call(`alone-${name.replace(' ', '-')}`);
      expect([name, tookMs]).toEqual([name, expect.toSatisfy((ms: number) => ms < 200)]);
    }
    await close();
  });
});

/** What a process does for the first time takes longer. */
async function warmUp(url: string): Promise<void> {
  for (let call = 0; call < 5; call++) await (await fetch(`${url}/readyz`)).arrayBuffer();
}

describe('a provider that stalls for two minutes', () => {
  it('never holds a caller beyond the limit of its first token and the failover', async () => {
    const { doors, close } = await start({ timeouts: { first_token: '400ms', attempt_unary: '400ms' } });
    first.script((exchange) => pause(120_000, undefined, { ref: false }).then(() => saying('too late')(exchange)));
    second.script(saying('from the second'));
    await doors.named('openai unary').ask({ model: 'both-warm-up' });
    const calls = doors.all.map(async ({ name, ask }, at) => {
      const began = performance.now();
      const { told, failure } = await ask({ model: `both-${at}` });
      return { name, failure, text: told.text, tookMs: performance.now() - began };
    });
    for (const { name, failure, text, tookMs } of await Promise.all(calls)) {
      expect([name, failure, text]).toEqual([name, undefined, 'from the second']);
      expect([name, tookMs]).toEqual([name, expect.toSatisfy((ms: number) => ms < 400 + 250)]);
    }
    await expect.poll(() => first.openAnswers()).toBe(0);
    await close();
  });

  it('is left for the next one also where the call has no more time than its limit', async () => {
    const { doors, close } = await start();
    first.script(silent);
    second.script(saying('from the second'));
    for (const name of ['grpc unary', 'grpc stream', 'connect-json stream']) {
      const { told, failure } = await doors.named(name).ask({ model: `both-${name.length}`, timeoutMs: 1_500 });
      expect([name, failure, told.text]).toEqual([name, undefined, 'from the second']);
    }
    await close();
  });
});
