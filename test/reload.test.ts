import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport } from '@connectrpc/connect-node';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { BadRequestSchema } from '../gen/google/rpc/error_details_pb.ts';
import { AdminService } from '../gen/llmgateway/v1/admin_service_pb.ts';
import { CircuitHold, CircuitState } from '../gen/llmgateway/v1/provider_pb.ts';
import { ProviderService } from '../gen/llmgateway/v1/provider_service_pb.ts';
import { loadConfig } from '../src/config.ts';
import { createReload } from '../src/reload.ts';
import { type Doors, openDoors } from './support/doors.ts';
import { type GatewayProcess, runGateway } from './support/gateway.ts';
import { type ReloadableGateway, startReloadable } from './support/reloadable.ts';
import { scriptedProvider } from './support/scripted-gateway.ts';
import {
  chunk,
  type Exchange,
  type ScriptedUpstream,
  saying,
  startScriptedUpstream,
  usageChunk,
} from './support/scripted-upstream.ts';
import { readExposition, total } from './telemetry/read-exposition.ts';

const sha256 = (key: string) => createHash('sha256').update(key).digest('hex');
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

let first: ScriptedUpstream;
let second: ScriptedUpstream;
let gateway: ReloadableGateway;
let doors: Doors;

beforeAll(async () => {
  [first, second] = await Promise.all([startScriptedUpstream(), startScriptedUpstream()]);
});
afterAll(async () => {
  await first.close();
  await second.close();
});

/** A configuration with both providers, `model` leading to the first. */
function both(more: Record<string, unknown> = {}) {
  return {
    providers: [scriptedProvider('first', first), scriptedProvider('second', second)],
    routes: [{ model: 'model', strategy: 'failover', targets: [{ provider: 'first' }, { provider: 'second' }] }],
    ...more,
  };
}

function onlySecond(more: Record<string, unknown> = {}) {
  return {
    providers: [scriptedProvider('second', second)],
    routes: [{ model: 'model', targets: [{ provider: 'second' }] }],
    ...more,
  };
}

async function start(config: Record<string, unknown>): Promise<void> {
  first.script(saying('from the first'));
  second.script(saying('from the second'));
  gateway = await startReloadable(config);
  doors = openDoors(gateway.url);
  onTestFinished(async () => {
    await doors.close();
    await gateway.close();
  });
}

/** Who answers at a door. */
async function answererAt(door: string): Promise<string> {
  const { told, failure } = await doors.named(door).ask({ model: 'model' });
  return failure?.message ?? told.text;
}

describe('a reload', () => {
  it('is applied to the next call of every door', async () => {
    await start(both());
    for (const { name } of doors.all) expect([name, await answererAt(name)]).toEqual([name, 'from the first']);
    gateway.write(onlySecond());
    expect(await gateway.app.reload('test')).toEqual({ applied: true, changed: ['providers', 'routes'], notices: [] });
    for (const { name } of doors.all) expect([name, await answererAt(name)]).toEqual([name, 'from the second']);
    expect(gateway.app.providerNames()).toEqual(['second']);
    expect(gateway.lines.filter(({ msg }) => msg === 'configuration applied')).toMatchObject([
      { why: 'test', changed: ['providers', 'routes'] },
    ]);
  });

  it('is applied to everything that a configuration says', async () => {
    await start(both({ keys: [{ name: 'old', sha256: sha256('old') }] }));
    const asking = (key: string, more: Record<string, string> = {}) =>
      fetch(`${gateway.url}/v1/models`, { headers: { ...bearer(key), ...more } });
    expect([(await asking('old')).status, (await asking('new')).status]).toEqual([200, 401]);
    gateway.write(
      both({
        keys: [{ name: 'new', sha256: sha256('new') }],
        server: { cors_origins: ['https://a.example'], body_limit_bytes: 1024, max_in_flight: 7 },
        telemetry: { log_level: 'trace' },
      }),
    );
    await gateway.app.reload('test');
    expect([(await asking('old')).status, (await asking('new')).status]).toEqual([401, 200]);
    const page = await asking('new', { origin: 'https://b.example' });
    expect(page.headers.get('access-control-allow-origin')).toBeNull();
    const body = JSON.stringify({ messages: [{ role: 'user', content: 'x'.repeat(2000) }] });
    const headers = { ...bearer('new'), 'content-type': 'application/json' };
    expect((await fetch(`${gateway.url}/completion`, { method: 'POST', headers, body })).status).toBe(413);
  });

  it('lets calls in flight finish on the configuration that they began with, and closes what only they used', async () => {
    await start(both());
    let goOn: () => void = () => {};
    const paused = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    first.script(async (exchange) => {
      await exchange.event(chunk({ content: 'long ' }));
      await paused;
      await exchange.event(chunk({ content: 'answer' }));
      await exchange.event(chunk({}, 'stop'));
      exchange.done();
    });
    const streams = doors.all.filter(({ streaming }) => streaming);
    let begun = 0;
    const asked = streams.map(({ ask }) => {
      let told = false;
      const onEvent = () => {
        if (!told) begun++;
        told = true;
      };
      return ask({ model: 'model', onEvent });
    });
    await vi.waitFor(() => expect(begun).toBe(streams.length));
    gateway.write(onlySecond());
    await gateway.app.reload('test');
    expect(first.openSockets()).toBe(streams.length);
    expect(await answererAt('grpc unary')).toBe('from the second');
    goOn();
    const answers = await Promise.all(asked);
    expect(new Set(answers.map(({ told, failure }) => failure?.message ?? told.text))).toEqual(
      new Set(['long answer']),
    );
    await vi.waitFor(() => expect(first.openSockets()).toBe(0));
  });

  it('keeps the connections to a provider that has not changed', async () => {
    await start(both());
    await answererAt('connect-json unary');
    await vi.waitFor(() => expect(first.openSockets()).toBe(1));
    const connections = first.connections();
    for (let at = 0; at < 5; at++) {
      gateway.write(both({ retry: { attempts: 2 + at } }));
      await gateway.app.reload('test');
      expect(await answererAt('connect-json unary')).toBe('from the first');
    }
    expect(first.connections()).toBe(connections);
  });

  it('does not have the models of such a provider listed again', async () => {
    await start(both());
    await (await fetch(`${gateway.url}/v1/models`)).text();
    const listings = first.listings();
    gateway.write(both({ retry: { attempts: 2 } }));
    await gateway.app.reload('test');
    const { data } = await (await fetch(`${gateway.url}/v1/models`)).json();
    expect(data.map(({ id }: { id: string }) => id)).toContain('model');
    expect(first.listings()).toBe(listings);
  });

  it('tells those who watch of the providers that there are now', async () => {
    await start(onlySecond());
    const told: string[] = [];
    const stop = new AbortController();
    const client = createClient(ProviderService, createConnectTransport({ baseUrl: gateway.url, httpVersion: '1.1' }));
    const watching = (async () => {
      for await (const { provider } of client.watchProviders({}, { signal: stop.signal }))
        told.push(provider?.name ?? '');
    })().catch(() => {});
    await vi.waitFor(() => expect(told).toEqual(['second']));
    gateway.write(both());
    await gateway.app.reload('test');
    await vi.waitFor(() => expect(told).toEqual(['second', 'first']));
    stop.abort();
    await watching;
  });

  const refusals: [what: string, write: () => Record<string, unknown> | string, path: string, message: RegExp][] = [
    ['text that is no YAML', () => 'providers: [', '', /^not valid YAML/],
    ['a setting that cannot be', () => both({ retry: { attempts: 0 } }), 'retry.attempts', /^must be greater/],
    ['a provider that is not there', () => ({ ...both(), providers: [] }), 'routes[0].targets[0].provider', /^unknown/],
    ['another port', () => both({ server: { port: 1 } }), 'server.port', /cannot become 1 while the gateway runs/],
    [
      'a certificate that is not there',
      () => both({ server: { tls: { cert_file: 'a', key_file: 'b' } } }),
      'server.tls.cert_file',
      /ENOENT/,
    ],
    ['no key any more', () => both({ keys: [] }), 'keys', /would open the gateway to everybody/],
    ['nothing at all', () => '', 'keys', /would open the gateway to everybody/],
  ];
  it.each(refusals)('to %s is refused by name, and everything stays', async (_, write, path, message) => {
    await start(both({ keys: [{ name: 'ann', sha256: sha256('ann') }] }));
    const ask = () => doors.named('openai unary').ask({ model: 'model', headers: bearer('ann') });
    gateway.write(write());
    const reloaded = await gateway.app.reload('test');
    expect(reloaded).toMatchObject({ applied: false });
    expect('problems' in reloaded ? reloaded.problems : []).toContainEqual(
      expect.objectContaining({ path, message: expect.stringMatching(message) }),
    );
    expect((await ask()).told.text).toBe('from the first');
    expect((await doors.named('openai unary').ask({ model: 'model' })).failure?.status).toBe(401);
    expect(gateway.app.reload.counts).toEqual({ applied: 0, refused: 1 });
    expect(gateway.lines.filter(({ level }) => Number(level) >= 50)).toMatchObject([
      { why: 'test', msg: 'configuration refused: the one before it stays' },
    ]);
    gateway.write(both({ keys: [{ name: 'ann', sha256: sha256('ann') }], retry: { attempts: 1 } }));
    expect(await gateway.app.reload('test')).toMatchObject({ applied: true, changed: ['retry'] });
  });

  it('of a file that is away is refused', async () => {
    await start(both());
    gateway.remove();
    expect(await gateway.app.reload('test')).toMatchObject({
      applied: false,
      problems: [{ message: expect.stringMatching(/no such file/) }],
    });
    expect(await answererAt('grpc unary')).toBe('from the first');
  });

  it('may be asked for by an administrator, by rpc and over REST, who is told of what is wrong', async () => {
    const keys = [
      { name: 'ann', sha256: sha256('ann') },
      { name: 'ops', sha256: sha256('ops'), admin: true },
    ];
    await start(both({ keys }));
    const client = createClient(AdminService, createGrpcTransport({ baseUrl: gateway.url }));
    const overRest = (key: string) => fetch(`${gateway.url}/admin/reload`, { method: 'POST', headers: bearer(key) });
    await expect(client.reloadConfig({}, { headers: bearer('ann') })).rejects.toMatchObject({
      code: Code.PermissionDenied,
    });
    expect((await overRest('ann')).status).toBe(403);
    expect(gateway.app.reload.counts).toEqual({ applied: 0, refused: 0 });

    gateway.write(both({ keys, timeouts: { idle: '11s' } }));
    expect(await client.reloadConfig({}, { headers: bearer('ops') })).toMatchObject({
      changedSections: ['timeouts'],
      appliedCount: 1,
    });
    gateway.write(both({ keys, timeouts: { idle: '12s' } }));
    expect(await (await overRest('ops')).json()).toEqual({
      changed_sections: ['timeouts'],
      notices: [],
      applied_count: 2,
      refused_count: 0,
    });

    gateway.write(both({ keys, server: { port: 1 }, cache: { ttl: '5' } }));
    const error = ConnectError.from(await client.reloadConfig({}, { headers: bearer('ops') }).catch((cause) => cause));
    expect(error.code).toBe(Code.InvalidArgument);
    expect(error.findDetails(BadRequestSchema)).toMatchObject([
      {
        fieldViolations: [{ field: 'cache.ttl', description: expect.stringMatching(/^line \d+: must be a duration/) }],
      },
    ]);
    gateway.write(both({ keys, server: { port: 1 } }));
    const refused = await overRest('ops');
    expect([refused.status, (await refused.json()).details.violations[0].field]).toEqual([400, 'server.port']);
    expect(gateway.app.reload.counts).toEqual({ applied: 2, refused: 2 });
    const headers = { ...bearer('ops'), accept: 'text/plain' };
    const samples = readExposition(await (await fetch(`${gateway.url}/metrics`, { headers })).text());
    const counted = (outcome: string) =>
      total(samples, 'gateway_config_reloads_total', { gateway_config_outcome: outcome });
    expect([counted('applied'), counted('refused')]).toEqual([2, 2]);
  });

  it('that fails half-way changes nothing, and the log says why', async () => {
    const lines: string[] = [];
    const loaded = loadConfig({ environment: {} });
    const changed = loadConfig({ environment: { PORT: '8080', CORS_ORIGINS: 'https://a.example' } });
    const reload = createReload({
      load: () => changed,
      current: () => loaded,
      apply: () => Promise.reject(new TypeError('a part could not be built')),
      log: pino({}, { write: (line: string) => void lines.push(line) }),
    });
    const problems = [{ path: '', message: 'could not be applied: the log says why' }];
    expect(await reload('test')).toEqual({ applied: false, problems });
    expect(reload.counts).toEqual({ applied: 0, refused: 1 });
    expect(lines.join()).toMatch(/TypeError: a part could not be built/);
    expect(await reload('again')).toEqual({ applied: false, problems });
  });

  it('may be asked for by several at once', async () => {
    await start(both());
    gateway.write(onlySecond());
    const reloaded = await Promise.all([gateway.app.reload('a'), gateway.app.reload('b'), gateway.app.reload('c')]);
    expect(reloaded.map((each) => each.applied && each.changed.length)).toEqual([2, 0, 0]);
  });
});

describe('a hundred reloads under load', () => {
  const keys = [{ name: 'ann', sha256: sha256('ann') }];
  const changedFirst = () => [{ ...scriptedProvider('first', first), headers: { 'x-changed': '1' } }];
  const variants: (() => Record<string, unknown> | string)[] = [
    () => onlySecond({ keys }),
    () => both({ keys: [] }),
    () => both({ keys, retry: { attempts: 1 } }),
    () => 'retry: { attempts: 0 }',
    () => ({ ...both({ keys }), providers: [...changedFirst(), scriptedProvider('second', second)] }),
    () => both({ keys, server: { port: 1 } }),
    () => onlySecond({ keys: [...keys, { name: 'bob', sha256: sha256('bob') }], timeouts: { idle: '20s' } }),
    () => '{',
    () => both({ keys, server: { max_in_flight: 500, cors_origins: [] } }),
    () => 'providers: [{ name: a }]',
  ];

  it('fail no call, lose no state of a breaker and leave no connection', { timeout: 120_000 }, async () => {
    await start(both({ keys }));
    for (const upstream of [first, second]) upstream.script(slowly(upstream === first ? 'first' : 'second'));
    const outcomes: string[] = [];
    let going = true;
    const caller = async ({ name, ask }: Doors['all'][number]) => {
      while (going) {
        const { told, failure } = await ask({ model: 'model', headers: bearer('ann') });
        outcomes.push(failure ? `${name}: ${failure.message}` : told.text);
      }
    };
    // Of a provider that comes and goes, of a model that nobody has called, and one that opened by itself.
    gateway.app.gateway.setCircuitBreaker('second', 'held', CircuitHold.OPEN);
    gateway.app.gateway.setCircuitBreaker('first', 'held', CircuitHold.CLOSED);
    const before = await openByItself('second');
    const callers = [...doors.all, ...doors.all].map(caller);
    const applied: boolean[] = [];
    for (let at = 0; at < 100; at++) {
      gateway.write((variants[at % variants.length] as () => string)());
      applied.push((await gateway.app.reload(`${at}`)).applied);
      await pause(5);
    }
    going = false;
    await Promise.all(callers);

    expect(breakerOf('second', 'held')).toMatchObject({ state: CircuitState.OPEN, hold: CircuitHold.OPEN });
    gateway.write(both({ keys }));
    await gateway.app.reload('both again');
    expect(breakerOf('first', 'held')).toMatchObject({ hold: CircuitHold.CLOSED });
    expect(breakerOf('second', 'broken')).toMatchObject({ timesOpened: 1, totalFailures: before });
    const { status } = gateway.app.gateway.listProviders().find(({ name }) => name === 'first') ?? {};
    expect(status?.latency).toBeDefined();

    expect(applied.filter((each) => each)).toHaveLength(50);
    expect(gateway.app.reload.counts).toEqual({ applied: 51, refused: 50 });
    const failed = outcomes.filter((outcome) => outcome !== 'all of the first' && outcome !== 'all of the second');
    expect(failed).toEqual([]);
    expect(new Set(outcomes).size).toBe(2);
    expect(outcomes.length).toBeGreaterThan(50);
    // The last one that was applied has both; nothing is left of the forty others.
    await vi.waitFor(() => expect(first.openSockets() + second.openSockets()).toBeLessThanOrEqual(48));
    gateway.write(onlySecond({ keys }));
    await gateway.app.reload('end');
    await vi.waitFor(() => expect(first.openSockets()).toBe(0));
  });
});

function breakerOf(provider: string, model: string) {
  return gateway.app.gateway.circuitBreakerOf(provider).models.find((breaker) => breaker.model === model);
}

/** Call a model that fails until its breaker opens; the number of failures that it took. */
async function openByItself(provider: string): Promise<number> {
  for (let at = 0; breakerOf(provider, 'broken')?.state !== CircuitState.OPEN; at++) {
    if (at > 50) throw new Error('the breaker does not open');
    await doors.named('openai unary').ask({ model: `${provider}/broken`, fallback: false, headers: bearer('ann') });
  }
  return breakerOf(provider, 'broken')?.totalFailures ?? 0;
}

/** Answers in pieces, so that reloads come in between. */
function slowly(name: string) {
  const words = ['all ', 'of ', 'the ', name];
  const answer = saying(...words);
  return async (exchange: Exchange) => {
    await pause(3);
    if (exchange.request.body?.model === 'broken') return exchange.json({}, 500);
    if (exchange.request.body?.stream !== true) return answer(exchange);
    for (const word of words) {
      await exchange.event(chunk({ content: word }));
      await pause(2);
    }
    await exchange.event(chunk({}, 'stop'));
    await exchange.event(usageChunk);
    exchange.done();
  };
}

describe('a running process', () => {
  const config = (answer: string) => ({
    server: { host: '127.0.0.1', port: 0 },
    providers: [scriptedProvider('scripted', first)],
    routes: [{ model: answer, targets: [{ provider: 'scripted' }] }],
  });

  /** Runs with a configuration file in a folder of its own, until the test is over. */
  async function running(write: (folder: string) => void): Promise<{ running: GatewayProcess; folder: string }> {
    const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-running-'));
    write(folder);
    const process = await runGateway(join(folder, 'gateway.yaml'));
    onTestFinished(async () => {
      await process.close();
      rmSync(folder, { recursive: true });
    });
    return { running: process, folder };
  }

  async function routesOf({ url }: GatewayProcess): Promise<string[]> {
    const { data } = await (await fetch(`${url}/v1/models`)).json();
    return data.map(({ id }: { id: string }) => id).filter((id: string) => /^before|after/.test(id));
  }

  const told = (process: GatewayProcess, msg: string) =>
    vi.waitFor(() => expect(process.lines.filter((line) => line.msg === msg)).toHaveLength(1), 10_000);

  it('reloads on SIGHUP, and says what came of it', async () => {
    const { running: process, folder } = await running((at) => {
      writeFileSync(join(at, 'gateway.yaml'), JSON.stringify(config('before')));
    });
    writeFileSync(join(folder, 'gateway.yaml'), JSON.stringify(config('after')));
    process.process.kill('SIGHUP');
    await vi.waitFor(() =>
      expect(process.lines.find(({ msg }) => msg === 'configuration applied')?.why).toBe('SIGHUP'),
    );
    expect(await routesOf(process)).toEqual(['after']);
  });

  it('sees a file that takes the name of the old one, and refuses it if it is wrong', async () => {
    const { running: process, folder } = await running((at) => {
      writeFileSync(join(at, 'gateway.yaml'), JSON.stringify(config('before')));
    });
    writeFileSync(join(folder, 'new'), 'server: { prot: 5 }');
    renameSync(join(folder, 'new'), join(folder, 'gateway.yaml'));
    await told(process, 'configuration refused: the one before it stays');
    expect(await routesOf(process)).toEqual(['before']);
    writeFileSync(join(folder, 'new'), JSON.stringify(config('after')));
    renameSync(join(folder, 'new'), join(folder, 'gateway.yaml'));
    await told(process, 'configuration applied');
    expect(await routesOf(process)).toEqual(['after']);
  });

  it('sees that a link above its file was exchanged, as in Kubernetes', async () => {
    const version = (at: string, name: string, answer: string) => {
      mkdirSync(join(at, name));
      writeFileSync(join(at, name, 'gateway.yaml'), JSON.stringify(config(answer)));
    };
    const { running: process, folder } = await running((at) => {
      version(at, '..1', 'before');
      symlinkSync('..1', join(at, '..data'));
      symlinkSync('..data/gateway.yaml', join(at, 'gateway.yaml'));
    });
    version(folder, '..2', 'after');
    symlinkSync('..2', join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    await told(process, 'configuration applied');
    expect(await routesOf(process)).toEqual(['after']);
  });
});
