import { setTimeout as pause } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Attempt, AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import { openDoors } from '../support/doors.ts';
import { brokenLaws } from '../support/event-laws.ts';
import { type GatewayWithDoors, scriptedProvider, startGatewayOver } from '../support/scripted-gateway.ts';
import {
  chunk,
  type Exchange,
  type ScriptedUpstream,
  saying,
  startScriptedUpstream,
  usageChunk,
} from '../support/scripted-upstream.ts';
import { type Standstills, watchStandstills } from '../support/standstill.ts';

const providers = ['a', 'b', 'c'] as const;
type Name = (typeof providers)[number];

/** What each provider says, a word a chunk: one sees who has spoken, and how much of it. */
const words = (name: Name) => [1, 2, 3].map((word) => `${name}${word} `);
const isStream = ({ request }: Exchange) => request.body?.stream === true;
const refusing =
  (status: number, headers: Record<string, string> = {}, error: object = {}) =>
  (exchange: Exchange) =>
    exchange.json({ error: { message: 'no', ...error } }, status, headers);

/** Say so much, and then do something else; a whole answer is half of its JSON. */
const after =
  (count: number, then: (exchange: Exchange) => unknown) =>
  async (exchange: Exchange, name: Name): Promise<void> => {
    if (!isStream(exchange)) {
      exchange.text('{"choices":[{"index":0,"mess');
      return;
    }
    for (const word of words(name).slice(0, count)) await exchange.event(chunk({ content: word }));
    await then(exchange);
  };

/** How a provider may answer one request. */
const answers: Record<string, (exchange: Exchange, name: Name) => unknown> = {
  well: (exchange, name) => saying(...words(name))(exchange),
  slowly: async (exchange, name) => {
    await pause(40);
    if (!isStream(exchange)) return saying(...words(name))(exchange);
    for (const word of words(name)) {
      await exchange.event(chunk({ content: word }));
      await pause(20);
    }
    await exchange.event(chunk({}, 'stop'));
    await exchange.event(usageChunk);
    exchange.done();
  },
  'by a reset': (exchange) => exchange.reset(),
  'with 500': refusing(500),
  'with 503 and a wait': refusing(503, { 'retry-after-ms': '30' }),
  'with 429': refusing(429),
  'with 429 and a wait': refusing(429, { 'retry-after-ms': '30' }),
  'with 429 and a long wait': refusing(429, { 'retry-after': '30' }),
  'with 401': refusing(401),
  'with 400': refusing(400),
  'that it is too long': refusing(400, {}, { code: 'context_length_exceeded' }),
  'with silence': () => {},
  'with headers and silence': (exchange) => exchange.head(),
  'with nonsense': (exchange) => exchange.text('{'),
  'with a page': (exchange) => exchange.text('<html>', 200, { 'content-type': 'text/html' }),
  'with an error under 200': (exchange) => exchange.json({ error: { message: 'no', code: 503 } }),
  'with half, and a reset': after(2, (exchange) => exchange.reset()),
  'with half, and an end': after(1, (exchange) => exchange.end()),
  'with half, and silence': after(2, () => {}),
  'with half, and an error': after(1, (exchange) =>
    exchange.event({ error: { message: 'no', code: 500 } }).then(() => exchange.done()),
  ),
  'with all but the end': after(3, (exchange) => exchange.end()),
};

const TOTAL_MS = 700;
/** How late the end of a call may be. */
const SLACK_MS = 100;

/** The policies that a call may meet, by the beginning of its name. */
const policies = {
  usual: { attempts: 3, perTarget: 2 },
  once: { attempts: 1, perTarget: 1 },
  stubborn: { attempts: 6, perTarget: 3 },
  hedged: { attempts: 3, perTarget: 2 },
  buffered: { attempts: 3, perTarget: 2 },
} as const;
type PolicyName = keyof typeof policies;
const more: Record<PolicyName, object> = {
  usual: {},
  once: {},
  stubborn: {},
  hedged: { hedge: { delay: '25ms' } },
  buffered: { guarantee: 'buffered' },
};

interface Script {
  readonly policy: PolicyName;
  readonly door: string;
  /** How each provider answers the first, the second … request; then well. */
  readonly a: readonly string[];
  readonly b: readonly string[];
  readonly c: readonly string[];
  /** After how many milliseconds the caller leaves, if it does. */
  readonly leavesMs: number | undefined;
}

const scripts = fc.record<Script>({
  policy: fc.constantFrom(...(Object.keys(policies) as PolicyName[])),
  door: fc.constantFrom(
    'openai stream',
    'openai unary',
    'native stream',
    'grpc stream',
    'grpc unary',
    'connect-json stream',
  ),
  a: fc.array(fc.constantFrom(...Object.keys(answers)), { minLength: 1, maxLength: 3 }),
  b: fc.array(fc.constantFrom(...Object.keys(answers)), { maxLength: 3 }),
  c: fc.array(fc.constantFrom(...Object.keys(answers)), { maxLength: 3 }),
  leavesMs: fc.option(fc.integer({ min: 0, max: 150 }), { nil: undefined, freq: 8 }),
});

describe('whatever providers do', () => {
  let upstreams: Record<Name, ScriptedUpstream>;
  let started: GatewayWithDoors;
  const running = new Map<string, Script>();
  const asked = new Map<string, Record<Name, number>>();
  let names = 0;
  let standstills: Standstills;

  beforeAll(async () => {
    standstills = watchStandstills();
    const [a, b, c] = (await Promise.all(providers.map(() => startScriptedUpstream()))) as [
      ScriptedUpstream,
      ScriptedUpstream,
      ScriptedUpstream,
    ];
    upstreams = { a, b, c };
    for (const name of providers) {
      upstreams[name].script((exchange) => {
        const model = String(exchange.request.body?.model);
        const counts = asked.get(model);
        if (!counts) return saying(...words(name))(exchange);
        const script = running.get(model)?.[name] ?? [];
        // A reset of a connection that was in use before counts for nothing: it may have come while it was idle, and whoever
        // keeps the connections asks once more.
        const answer = script[requests(name, model)] ?? 'well';
        if (answer !== 'by a reset') counts[name]++;
        return answers[answer]?.(exchange, name);
      });
    }
    started = await startGatewayOver(
      providers.map((name) => ({ ...scriptedProvider(name, upstreams[name]), limits: { max_concurrent: 30 } })),
      {
        routes: Object.entries(policies).map(([name, { attempts, perTarget }]) => ({
          model: `${name}-*`,
          strategy: 'failover',
          targets: providers.map((provider) => ({ provider, model: '' })),
          retry: { attempts, attempts_per_target: perTarget },
          ...more[name as PolicyName],
        })),
        retry: { base_delay: '5ms', max_delay: '20ms', budget_ratio: 1 },
        timeouts: {
          first_token: '120ms',
          attempt_unary: '120ms',
          idle: '100ms',
          heartbeat: '50ms',
          total_stream: `${TOTAL_MS}ms`,
          total_unary: `${TOTAL_MS}ms`,
          total_native: `${TOTAL_MS}ms`,
        },
      },
    );
  });
  afterAll(async () => {
    standstills.stop();
    await started.close();
    for (const name of providers) await upstreams[name].close();
  });

  /** How often a model was asked for before. */
  function requests(name: Name, model: string): number {
    return upstreams[name].requests.filter(({ body }) => body?.model === model).length - 1;
  }

  /** Run one script; tells what is wrong with what came of it. */
  async function run(script: Script): Promise<string[]> {
    const model = `${script.policy}-${names++}`;
    running.set(model, script);
    const counts = { a: 0, b: 0, c: 0 };
    asked.set(model, counts);
    const leaving = new AbortController();
    const timer = script.leavesMs === undefined ? undefined : setTimeout(() => leaving.abort(), script.leavesMs);
    const began = performance.now();
    const { told, failure, completion, events } = await started.doors
      .named(script.door)
      .ask({ model, signal: leaving.signal });
    const tookMs = performance.now() - began - standstills.since(began);
    clearTimeout(timer);

    const wrong: string[] = [];
    const { attempts, perTarget } = policies[script.policy];
    if (tookMs > TOTAL_MS + SLACK_MS) wrong.push(`it took ${Math.round(tookMs)} ms`);
    if (counts.a + counts.b + counts.c > attempts)
      wrong.push(`${JSON.stringify(counts)} are more than ${attempts} attempts`);
    if (Math.max(...Object.values(counts)) > perTarget)
      wrong.push(`${JSON.stringify(counts)} are more than ${perTarget} a target`);
    const whole = providers.map((name) => words(name).join(''));
    if (failure === undefined) {
      if (!whole.includes(told.text)) wrong.push(`the text is ${JSON.stringify(told.text)}`);
    } else {
      if (!whole.some((text) => text.startsWith(told.text))) wrong.push(`the text begins ${JSON.stringify(told.text)}`);
      if (script.policy === 'buffered' && script.leavesMs === undefined && told.text !== '')
        wrong.push(`${JSON.stringify(told.text)} was told of what was not whole`);
      if (failure.reason === 'internal' || /no \[DONE\]|no last event|not an error/.test(failure.message))
        wrong.push(failure.message);
    }
    if (completion) {
      if (events) wrong.push(...brokenLaws(events));
      wrong.push(...brokenAccount(completion.attempts, completion.provider));
    }
    return wrong;
  }

  it('a thousand times over: attempts and time stay within their limits, a text comes once, nothing is left behind', {
    timeout: 180_000,
  }, async () => {
    const doors = openDoors(started.gateway.url);
    for (const { ask } of doors.all) await ask({ model: 'usual-warm-up' });
    await doors.close();
    const before = timers();
    await fc.assert(
      fc.asyncProperty(fc.array(scripts, { minLength: 20, maxLength: 20 }), async (some) => {
        const complaints = await Promise.all(some.map(run));
        expect(complaints.flatMap((wrong, at) => (wrong.length > 0 ? [{ wrong, script: some[at] }] : []))).toEqual([]);
        await expectNothingLeft();
      }),
      { numRuns: 50, endOnFailure: true },
    );
    await expectEveryPlaceFree();
    await started.doors.close();
    await expect.poll(timers, { timeout: 5_000 }).toBeLessThanOrEqual(before);
  });

  async function expectNothingLeft(): Promise<void> {
    const { app } = started.gateway;
    const left = () => ({
      inFlight: app.inFlight(),
      answers: providers.map((name) => upstreams[name].openAnswers()),
      attempts: app.gateway.listProviders().map(({ status }) => [status?.activeRequests, status?.queueLength]),
    });
    await expect
      .poll(left, { interval: 5 })
      .toEqual({ inFlight: 0, answers: [0, 0, 0], attempts: Array(3).fill([0, 0]) });
  }

  /** As many calls at once as there are places: were one lost, somebody would have to wait. */
  async function expectEveryPlaceFree(): Promise<void> {
    for (const name of providers) {
      upstreams[name].script(undefined);
      const { ask } = started.doors.named('grpc unary');
      const calls = Array.from({ length: 30 }, (_, at) =>
        ask({ model: `anew-${name}-${at}`, provider: name, fallback: false }),
      );
      const exchanges = await Promise.all(calls.map(() => upstreams[name].next()));
      for (const exchange of exchanges) void saying('here')(exchange);
      for (const { told } of await Promise.all(calls)) expect(told.text).toBe('here');
    }
  }
});

/** Timers that keep this process alive. */
function timers(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
}

/** What is wrong with the list of attempts of an answer. */
function brokenAccount(attempts: readonly Attempt[], provider: string): string[] {
  const succeeded = attempts.filter(({ outcome }) => outcome === AttemptOutcome.SUCCEEDED);
  const unexplained = attempts.filter(({ outcome, reason }) => outcome === AttemptOutcome.FAILED && reason === '');
  return [
    ...(succeeded.length === 1 && succeeded[0]?.provider === provider ? [] : ['not exactly one attempt succeeded']),
    ...(unexplained.length === 0 ? [] : ['an attempt failed for no reason']),
  ];
}
