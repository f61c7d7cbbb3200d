import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AttemptOutcome } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { Outcome } from '../support/doors.ts';
import { freshName, type ScriptedGateway, startScriptedGateway } from '../support/scripted-gateway.ts';
import { chunk, type Exchange, saying, wholeAnswer } from '../support/scripted-upstream.ts';

const refusing =
  (status: number, headers: Record<string, string> = {}, error: object = {}) =>
  (exchange: Exchange) =>
    exchange.json({ error: { message: 'made up', ...error } }, status, headers);

let scripted: ScriptedGateway;
/** Retries as they are by default. */
beforeEach(async () => {
  scripted = await startScriptedGateway({ retry: {}, telemetry: { log_level: 'debug' } });
  scripted.other.script(saying('from the second'));
});
afterEach(() => scripted.close());

/** Call at every door, each by a name of its own. */
async function atEveryDoor(more: { fallback?: boolean } = {}): Promise<(Outcome & { name: string; model: string })[]> {
  return Promise.all(
    scripted.doors.all.map(async ({ name, ask }) => {
      const model = freshName();
      return { name, model, ...(await ask({ model, ...more })) };
    }),
  );
}

const statusOf = ({ failure }: Outcome, code: string) => [
  failure?.status ?? failure?.code,
  failure?.status ? 'REST' : code,
];

/** How often the first provider was asked for a model. */
function asked(model: string, upstream = scripted.upstream): number {
  return upstream.requests.filter(({ body }) => body?.model === model).length;
}

describe('a 429', () => {
  it('with Retry-After leads elsewhere, and the next call does not even ask', async () => {
    scripted.upstream.script(refusing(429, { 'retry-after': '7' }));
    for (const { name, model, failure, told } of await atEveryDoor()) {
      expect([name, failure, told.text]).toEqual([name, undefined, 'from the second']);
      const again = await scripted.doors.named('grpc unary').ask({ model });
      expect(again.completion?.attempts).toMatchObject([
        { provider: 'first', outcome: AttemptOutcome.SKIPPED, reason: 'provider_rate_limited' },
        { provider: 'second', outcome: AttemptOutcome.SUCCEEDED },
      ]);
      expect(asked(model)).toBe(1);
    }
  });

  it('with a Retry-After of up to 5 s is waited for where there is nobody else', async () => {
    const limited = new Set<unknown>();
    scripted.upstream.script((exchange) => {
      const { model } = exchange.request.body ?? {};
      if (limited.has(model)) return saying('after all')(exchange);
      limited.add(model);
      refusing(429, { 'retry-after-ms': '700' })(exchange);
    });
    const began = performance.now();
    for (const { name, failure, told, completion } of await atEveryDoor({ fallback: false })) {
      expect([name, failure, told.text]).toEqual([name, undefined, 'after all']);
      if (completion) expect(completion.attempts).toHaveLength(2);
    }
    expect(performance.now() - began).toSatisfy((ms: number) => ms > 700 && ms < 1_700);
  });

  it('with a longer one is passed on with it, and so are the calls after it, without asking', async () => {
    scripted.upstream.script(refusing(429, { 'retry-after': '7' }));
    for (let round = 0; round < 2; round++) {
      const began = performance.now();
      for (const outcome of await atEveryDoor({ fallback: false })) {
        expect(statusOf(outcome, 'resource_exhausted')).toEqual([
          outcome.failure?.status ? 429 : 'resource_exhausted',
          expect.anything(),
        ]);
        expect(outcome.failure?.reason).toBe('provider_rate_limited');
        if (outcome.failure?.status) expect(outcome.headers['retry-after']).toBe('7');
        const again = await scripted.doors.named('openai unary').ask({ model: outcome.model, fallback: false });
        expect([again.failure?.status, Number(again.headers['retry-after'])]).toEqual([
          429,
          expect.toSatisfy((s) => s >= 6 && s <= 7),
        ]);
        expect(asked(outcome.model)).toBe(1);
      }
      expect(performance.now() - began).toBeLessThan(2_000);
    }
  });

  it('without Retry-After is tried once more after a while where there is nobody else, and at once elsewhere otherwise', async () => {
    scripted.upstream.script(refusing(429));
    const began = performance.now();
    for (const { name, model, failure, told } of await atEveryDoor()) {
      expect([name, failure, told.text, asked(model)]).toEqual([name, undefined, 'from the second', 1]);
    }
    expect(performance.now() - began).toBeLessThan(900);
    for (const { name, model, failure } of await atEveryDoor({ fallback: false })) {
      expect([name, failure?.reason, asked(model)]).toEqual([name, 'provider_rate_limited', 2]);
    }
    expect(performance.now() - began).toSatisfy((ms: number) => ms > 1_000 && ms < 3_000);
  });
});

describe('a 5xx', () => {
  it.each([500, 502, 503, 504, 529])(
    '%i leads to the same provider once more, then elsewhere: three attempts at most',
    async (status) => {
      scripted.upstream.script(refusing(status));
      for (const { name, model, failure, told, completion } of await atEveryDoor()) {
        expect([name, failure, told.text, asked(model)]).toEqual([name, undefined, 'from the second', 2]);
        if (completion)
          expect(completion.attempts.map(({ provider }) => provider)).toEqual(['first', 'first', 'second']);
      }
      scripted.other.script(refusing(status));
      for (const outcome of await atEveryDoor()) {
        const { name, model, headers } = outcome;
        expect([name, asked(model), asked(model, scripted.other)]).toEqual([name, 2, 1]);
        expect(statusOf(outcome, 'unavailable')[0]).toBe(outcome.failure?.status ? 503 : 'unavailable');
        if (outcome.failure?.status) expect(headers['x-gateway-attempts']).toBe('3');
      }
    },
  );

  it('once is made good by the same provider', async () => {
    const failed = new Set<unknown>();
    scripted.upstream.script((exchange) => {
      const { model } = exchange.request.body ?? {};
      if (failed.has(model)) return saying('the second time')(exchange);
      failed.add(model);
      exchange.text('', 502);
    });
    for (const { name, failure, told } of await atEveryDoor()) {
      expect([name, failure, told.text]).toEqual([name, undefined, 'the second time']);
    }
    expect(scripted.other.requests).toEqual([]);
  });
});

describe("the caller's own mistake", () => {
  it.each([
    [400, 'provider_rejected', 400, 'invalid_argument'],
    [404, 'model_not_found', 404, 'not_found'],
    [413, 'provider_rejected', 400, 'invalid_argument'],
    [422, 'provider_rejected', 400, 'invalid_argument'],
  ] as const)(
    '%i is passed on, tried nowhere else, and leaves the breaker closed after 100 calls',
    async (status, reason, http, code) => {
      scripted.upstream.script(refusing(status, {}, { message: 'no such thing is done here' }));
      const model = `nobody-lists-${status}`;
      const calls = Array.from({ length: 108 }, async (_, call) => {
        const { name, ask } = scripted.doors.all[
          call % scripted.doors.all.length
        ] as (typeof scripted.doors.all)[number];
        return { name, ...(await ask({ model, provider: 'first' })) };
      });
      for (const { name, failure } of await Promise.all(calls)) {
        expect([name, failure?.reason]).toEqual([name, reason]);
        expect([name, failure?.status ?? failure?.code]).toEqual([name, failure?.status ? http : code]);
        if (reason === 'provider_rejected') expect(failure?.message).toContain('no such thing is done here');
      }
      expect(asked(model)).toBe(108);
      expect(scripted.other.requests).toEqual([]);
      const { circuitBreakerOf, listProviders } = scripted.gateway.app.gateway;
      expect(circuitBreakerOf('first').whole).toMatchObject({ timesOpened: 0, failureCount: 0 });
      expect(listProviders().find(({ name }) => name === 'first')?.status).toMatchObject({
        healthy: true,
        errorRate: 0,
      });
    },
  );
});

describe('a key of ours that is refused', () => {
  it.each([401, 403])('with %i is never the 401 of the caller, and is in no log', async (status) => {
    const key = 'key-that-nobody-may-see-0123';
    const own = await startScriptedGateway({
      telemetry: { log_level: 'debug' },
      retry: {},
      providers: [
        { name: 'first', kind: 'openai_compatible', base_url: scripted.upstream.url, api_key: key },
        { name: 'second', kind: 'openai_compatible', base_url: scripted.other.url, api_key: key },
      ],
    });
    scripted.upstream.script(refusing(status, {}, { message: `Incorrect API key provided: ${key}.` }));
    const answers: unknown[] = [];
    for (const fallback of [true, false]) {
      for (const { name, ask } of own.doors.all) {
        const model = freshName();
        const { failure, told, headers, completion } = await ask({ model, fallback });
        answers.push(
          failure,
          headers,
          completion?.attempts.map(({ reason }) => reason),
        );
        expect([name, asked(model)]).toEqual([name, 1]);
        if (fallback) expect([name, failure, told.text]).toEqual([name, undefined, 'from the second']);
        else {
          expect([name, failure?.reason]).toEqual([name, 'provider_misconfigured']);
          expect([name, failure?.status ?? failure?.code]).toEqual([
            name,
            failure?.status ? 502 : 'failed_precondition',
          ]);
        }
      }
    }
    expect(own.gateway.lines.length).toBeGreaterThan(own.doors.all.length);
    expect(JSON.stringify([own.gateway.lines, answers])).not.toContain(key);
    await own.close();
  });
});

describe('a refusal by policy', () => {
  it('as a finish reason is an answer: it is tried nowhere else, and speaks against nobody', async () => {
    scripted.upstream.script(async (exchange) => {
      if (exchange.request.body?.stream !== true) {
        const whole = wholeAnswer('I would') as { choices: object[] };
        exchange.json({ ...whole, choices: [{ ...whole.choices[0], finish_reason: 'content_filter' }] });
        return;
      }
      await exchange.event(chunk({ content: 'I would' }));
      await exchange.event(chunk({}, 'content_filter'));
      exchange.done();
    });
    for (const { name, failure, told } of await atEveryDoor()) {
      expect([name, failure, told.finish_reason]).toEqual([name, undefined, 'content_filter']);
    }
    expect(scripted.other.requests).toEqual([]);
    expect(scripted.gateway.app.gateway.circuitBreakerOf('first').whole.failureCount).toBe(0);
  });

  it('as an error is final', async () => {
    scripted.upstream.script(refusing(400, {}, { code: 'content_filter', message: 'the prompt was filtered' }));
    for (const outcome of await atEveryDoor()) {
      expect(statusOf(outcome, '')[0]).toBe(outcome.failure?.status ? 400 : 'invalid_argument');
      expect(outcome.failure?.reason).toBe('provider_rejected');
    }
    expect(scripted.other.requests).toEqual([]);
    expect(scripted.gateway.app.gateway.circuitBreakerOf('first').whole.failureCount).toBe(0);
  });
});
