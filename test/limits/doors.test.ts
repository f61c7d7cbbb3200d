import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QuotaFailureSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts';
import { Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionService } from '../../gen/llmgateway/v1/completion_service_pb.ts';
import { type Door, type Doors, openDoors } from '../support/doors.ts';
import type { TestGateway } from '../support/gateway.ts';
import { type RedisServer, startRedis, withoutRedis } from '../support/redis-server.ts';
import { type ScriptedUpstream, startScriptedUpstream } from '../support/scripted-upstream.ts';
import { answering, ask, authorization, startLimited } from './limited-gateway.ts';

/** Each door has keys of its own, so that none is in another's way. */
function slugOf({ name }: Pick<Door, 'name'>): string {
  return name.replaceAll(/[^a-z]+/g, '-');
}

const stores: [string, () => Promise<{ state: object; close: () => Promise<void> | void }>, string | undefined][] = [
  ['memory', async () => ({ state: {}, close: () => {} }), undefined],
  [
    'SQLite',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-limits-'));
      return {
        state: { sqlite_path: join(folder, 'usage.db') },
        close: () => rmSync(folder, { recursive: true }),
      };
    },
    undefined,
  ],
  [
    'Redis',
    async () => {
      const redis: RedisServer = await startRedis();
      return { state: { redis_url: redis.url }, close: () => redis.close() };
    },
    withoutRedis,
  ],
];

describe.each(stores)('limits in %s', (_, open, missing) => {
  describe.skipIf(missing)('at every door', () => {
    let upstream: ScriptedUpstream;
    let store: Awaited<ReturnType<typeof open>>;
    let gateway: TestGateway;
    let doors: Doors;

    beforeAll(async () => {
      upstream = answering(await startScriptedUpstream());
      store = await open();
      const names = openDoors('http://127.0.0.1:1').all.map(slugOf);
      const keysFor = (prefix: string, more: object) =>
        Object.fromEntries([...names, 'rpc', 'stream'].map((name) => [`${prefix}-${name}`, more]));
      gateway = await startLimited({
        upstream,
        state: store.state,
        // A prompt costs 5 USD, its answer nothing.
        prices: { input: 1e6, output: 0 },
        tiers: [
          { name: 'small', capacity: 2, refill_per_second: 0.01 },
          { name: 'tokens', tokens_per_minute: 1100 },
          { name: 'one', max_concurrent: 1 },
        ],
        keys: {
          ...keysFor('calls', { tier: 'small' }),
          ...keysFor('tokens', { tier: 'tokens' }),
          ...keysFor('slots', { tier: 'one' }),
          ...keysFor('budget', { budget_usd: 12, budget_period: '7d' }),
        },
      });
      doors = openDoors(gateway.url);
    });
    afterAll(async () => {
      await doors?.close();
      await gateway?.close();
      await store?.close();
      await upstream?.close();
    });

    /** Ask by a door, with the key that is named after what it is for. */
    function askAt(door: Door, purpose: string, text = 'hi') {
      return door.ask({ model: 'scripted-model', text, headers: authorization(`${purpose}-${slugOf(door)}`) });
    }

    it('calls are counted, and the headers tell how they stand', async () => {
      await Promise.all(
        doors.all.map(async (door) => {
          const first = await askAt(door, 'calls');
          expect([door.name, first.failure]).toEqual([door.name, undefined]);
          expect(first.headers).toMatchObject({
            'ratelimit-policy': '"requests";q=2;w=200',
            ratelimit: '"requests";r=1;t=100',
            'x-ratelimit-limit-requests': '2',
            'x-ratelimit-remaining-requests': '1',
            'x-ratelimit-reset-requests': expect.stringMatching(/^1m(39\.\d+|40)s$/),
          });
          expect((await askAt(door, 'calls')).failure).toBeUndefined();
          const { failure } = await askAt(door, 'calls');
          expect(failure?.message).toBe(
            `the key "calls-${slugOf(door)}" has no call left of 2 at once and 0.6 a minute`,
          );
          if (door.family === 'rpc')
            expect(failure).toMatchObject({ code: 'resource_exhausted', reason: 'rate_limited' });
          else expect(failure?.status).toBe(429);
        }),
      );
    });

    it('tokens are reserved and settled', async () => {
      await Promise.all(
        doors.all.map(async (door) => {
          // 1 token of prompt, and 1024 of a usual answer, of 1100.
          for (let call = 0; call < 5; call++) {
            expect([door.name, call, (await askAt(door, 'tokens')).failure]).toEqual([door.name, call, undefined]);
          }
          const { failure } = await askAt(door, 'tokens', 'x'.repeat(5000));
          expect(failure?.message).toMatch(/may take 1250 tokens, 1250 of them for its prompt: more than the 1100/);
          if (door.family === 'rpc') expect(failure).toMatchObject({ code: 'invalid_argument' });
          else expect(failure?.status).toBe(400);
        }),
      );
    });

    it('money is spent by what calls cost, and then it is over', async () => {
      await Promise.all(
        doors.all.map(async (door) => {
          for (let call = 0; call < 3; call++) {
            expect([door.name, call, (await askAt(door, 'budget')).failure]).toEqual([door.name, call, undefined]);
          }
          const { failure } = await askAt(door, 'budget');
          expect(failure?.message).toMatch(
            /has USD 0.00 left of its budget of USD 12.00, and this call may cost USD 1.00/,
          );
          if (door.family === 'rpc')
            expect(failure).toMatchObject({ code: 'resource_exhausted', reason: 'budget_exhausted' });
          else expect(failure?.status).toBe(429);
        }),
      );
    });

    it('slots are free again when a call is over, however it ends', async () => {
      await Promise.all(
        doors.all.map(async (door) => {
          for (let call = 0; call < 3; call++) {
            expect([door.name, call, (await askAt(door, 'slots')).failure]).toEqual([door.name, call, undefined]);
          }
        }),
      );
      upstream.script((exchange) => exchange.json({ error: { message: 'boom' } }, 500));
      for (const door of doors.all) {
        expect([door.name, (await askAt(door, 'slots')).failure?.message]).toEqual([
          door.name,
          expect.not.stringMatching(/in flight/),
        ]);
      }
      answering(upstream);
    });

    it.each(['grpc', 'grpc-web', 'connect'])('a refusal at %s has details and headers', async (protocol) => {
      const baseUrl = gateway.url;
      const transports: Record<string, () => Transport> = {
        grpc: () => createGrpcTransport({ baseUrl }),
        'grpc-web': () => createGrpcWebTransport({ baseUrl, httpVersion: '1.1' }),
        connect: () => createConnectTransport({ baseUrl, httpVersion: '1.1' }),
      };
      const transport = transports[protocol]?.();
      if (!transport) throw new Error(protocol);
      const client = createClient(CompletionService, transport);
      const request = { model: 'scripted-model', messages: [{ role: Role.USER, parts: [] }] };
      const key =
        protocol === 'grpc' ? 'calls-rpc' : protocol === 'connect' ? 'calls-stream' : 'calls-connect-json-unary';
      const call = () => client.createCompletion({ request }, { headers: authorization(key) });
      let error: ConnectError | undefined;
      for (let tries = 0; tries < 3; tries++) await call().catch((cause) => (error = ConnectError.from(cause)));
      expect(error?.findDetails(RetryInfoSchema)[0]?.retryDelay).toMatchObject({ seconds: expect.any(BigInt) });
      expect(Number(error?.findDetails(RetryInfoSchema)[0]?.retryDelay?.seconds)).toBeGreaterThan(90);
      expect(error?.findDetails(QuotaFailureSchema)[0]?.violations).toMatchObject([{ subject: `key:${key}` }]);
      expect(error?.metadata.get('retry-after')).toMatch(/^(9\d|100)$/);
      expect(error?.metadata.get('ratelimit')).toMatch(/^"requests";r=0;t=(9\d|100)$/);
      expect(error?.metadata.get('ratelimit-policy')).toBe('"requests";q=2;w=200');
    });
  });
});

describe('a gateway with limits', () => {
  let upstream: ScriptedUpstream;

  beforeAll(async () => {
    upstream = answering(await startScriptedUpstream());
  });
  afterAll(() => upstream.close());

  it('tells when a refused call fits, and lets it in then', async () => {
    const tiers = [{ name: 'quick', capacity: 1, refill_per_second: 4 }];
    const gateway = await startLimited({ upstream, tiers, keys: { team: { tier: 'quick' } } });
    await ask(gateway, 'team');
    const refused = await ask(gateway, 'team');
    expect(refused.status).toBe(429);
    expect(refused.body.error).toMatchObject({ type: 'rate_limit_error', code: 'gateway_rate_limit' });
    expect(refused.headers.get('retry-after')).toBe('1');
    const waitMs = Number(refused.headers.get('retry-after-ms'));
    expect(waitMs).toBeGreaterThan(0);
    expect(waitMs).toBeLessThanOrEqual(250);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    expect((await ask(gateway, 'team')).status).toBe(200);
    await gateway.close();
  });

  it('limits callers without a key by their address, as the default tier says', async () => {
    const gateway = await startLimited({ upstream, tiers: [{ name: 'default', capacity: 3 }] });
    const statuses = [];
    for (let call = 0; call < 4; call++) statuses.push((await ask(gateway, '')).status);
    expect(statuses).toEqual([200, 200, 200, 429]);
    await gateway.close();
  });

  it('limits users apart where user_id counts', async () => {
    const limits = { limit_by: 'key_and_user_id' };
    const tiers = [{ name: 'default', capacity: 1, refill_per_second: 0.001 }];
    const gateway = await startLimited({ upstream, tiers, limits, keys: { team: {} } });
    const askAs = async (user: string) => (await ask(gateway, 'team', { user })).status;
    expect([await askAs('a'), await askAs('b'), await askAs('a'), await askAs('b')]).toEqual([200, 200, 429, 429]);
    await gateway.close();
  });

  it('limits all callers together, and tells nobody how many are left', async () => {
    const limits = { global: { requests_per_second: 2 } };
    const gateway = await startLimited({ upstream, limits, keys: { a: {}, b: {} } });
    const answers = await Promise.all(['a', 'b', 'a', 'b'].map((key) => ask(gateway, key)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429, 429]);
    for (const { headers } of answers) expect(headers.get('ratelimit-policy')).toBe('"requests";q=100;w=100');
    const refused = answers.find(({ status }) => status === 429);
    expect(refused?.body.error?.message).toBe('all callers together have no call left of 2 at once and 2 a second');
    const client = createClient(CompletionService, createGrpcTransport({ baseUrl: gateway.url }));
    const request = { model: 'scripted-model', messages: [{ role: Role.USER, parts: [] }] };
    const failure = await Promise.all(
      Array.from({ length: 3 }, () => client.createCompletion({ request }, { headers: authorization('a') })),
    ).catch(ConnectError.from);
    expect((failure as ConnectError).findDetails(QuotaFailureSchema)[0]?.violations[0]?.subject).toBe('global');
    await gateway.close();
  });

  it('has no headers of limits where nobody calls', async () => {
    const gateway = await startLimited({ upstream });
    for (const path of ['/livez', '/readyz', '/health', '/v1/models', '/nothing']) {
      const answer = await fetch(`${gateway.url}${path}`);
      expect([path, answer.headers.get('ratelimit')]).toEqual([path, null]);
    }
    await gateway.close();
  });

  it('takes nothing for calls that break the contract', async () => {
    const tiers = [{ name: 'default', capacity: 1, refill_per_second: 0.001 }];
    const gateway = await startLimited({ upstream, tiers });
    expect((await ask(gateway, '', { temperature: 9 })).status).toBe(400);
    expect((await ask(gateway, '')).status).toBe(200);
    await gateway.close();
  });
});
