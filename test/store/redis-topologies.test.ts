import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RedisLimits } from '../../src/store/redis.ts';
import { freePort, type RedisServer, startRedis, startSentinel, withoutRedis } from '../support/redis-server.ts';
import { admitted, budget, limitSuite, requests, slots, tokens } from './limit-suite.ts';
import { openRedisLimits } from './open-redis.ts';

async function eventually<Value>(ask: () => Promise<Value>, isGood: (value: Value) => boolean): Promise<Value> {
  for (let tries = 0; ; tries++) {
    const value = await ask();
    if (isGood(value)) return value;
    if (tries > 300) throw new Error(`still ${JSON.stringify(value)} after 15 s`);
    await pause(50);
  }
}

describe.skipIf(withoutRedis)('a cluster of Redis', () => {
  let nodes: RedisServer[] = [];
  let url = '';

  beforeAll(async () => {
    const enabled = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000'];
    // The bus of a cluster is 10,000 ports higher, if nothing else is said.
    nodes = await Promise.all(
      [1, 2].map(async () => startRedis([...enabled, '--cluster-port', String(await freePort())])),
    );
    const [first, second] = nodes as [RedisServer, RedisServer];
    await first.command('CLUSTER', 'ADDSLOTSRANGE', '0', '8191');
    await second.command('CLUSTER', 'ADDSLOTSRANGE', '8192', '16383');
    const bus = await second.command('CONFIG', 'GET', 'cluster-port');
    await first.command('CLUSTER', 'MEET', '127.0.0.1', String(second.port), String((bus as string[])[1]));
    for (const node of nodes) {
      await eventually(
        async () => String(await node.command('CLUSTER', 'INFO')),
        (info) => info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:2'),
      );
    }
    // One node is enough to find the others.
    url = `redis+cluster://127.0.0.1:${first.port}`;
  });
  afterAll(() => Promise.all(nodes.map((node) => node.close())));

  limitSuite('keeps limits like one server', (clock) => openRedisLimits(url, { now: () => clock.now }), 10);

  it('gives back what a call took before another part of it refused', async () => {
    const store = await openRedisLimits(url);
    // One of these is on the first node and others on the second.
    for (const subject of ['global', 'global-2', 'global-3', 'global-4']) {
      const own = [requests(), tokens(800), slots(3), budget(100)];
      const refused = await store.take([...own, requests(11, { subject })]);
      expect(refused).toMatchObject({ admitted: false, refusedBy: { subject } });
      await store.flush();
      const holdings = await store.look(own);
      expect(holdings.map(({ remaining }) => remaining)).toEqual([10, 1000, 3, 450]);
      expect(holdings.map(({ reserved }) => reserved)).toEqual([0, 0, 0, 0]);
    }
    await store.close();
  });

  it('is followed where a slot has moved to', async () => {
    const store = await openRedisLimits(url, { keyPrefix: 'moving:' });
    const [first, second] = nodes as [RedisServer, RedisServer];
    admitted(await store.take([requests(10), slots(2)]));
    const slot = String(await first.command('CLUSTER', 'KEYSLOT', '{key:a}'));
    const [from, to] = Number(slot) < 8192 ? [first, second] : [second, first];
    const [fromId, toId] = (await Promise.all([from, to].map((node) => node.command('CLUSTER', 'MYID')))) as string[];
    await to.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', String(fromId));
    await from.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', String(toId));
    const keys = (await from.command('CLUSTER', 'GETKEYSINSLOT', slot, '100')) as string[];
    await from.command('MIGRATE', '127.0.0.1', String(to.port), '', '0', '1000', 'KEYS', ...keys);
    for (const node of [to, from]) await node.command('CLUSTER', 'SETSLOT', slot, 'NODE', String(toId));

    expect((await store.take([requests(10)])).admitted).toBe(false);
    expect(await store.look([slots(2)])).toMatchObject([{ reserved: 1 }]);
    await store.close();
  });
});

describe.skipIf(withoutRedis)('a Redis behind sentinels', () => {
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-sentinel-'));
  const servers: RedisServer[] = [];
  let store: RedisLimits;

  beforeAll(async () => {
    const master = await startRedis();
    const replica = await startRedis(['--replicaof', `127.0.0.1 ${master.port}`]);
    servers.push(master, replica);
    await eventually(
      async () => String(await replica.command('INFO', 'replication')),
      (info) => info.includes('master_link_status:up'),
    );
    const config = join(folder, 'sentinel.conf');
    writeFileSync(
      config,
      [
        `sentinel monitor limits 127.0.0.1 ${master.port} 1`,
        'sentinel down-after-milliseconds limits 400',
        'sentinel failover-timeout limits 2000',
      ].join('\n'),
    );
    const sentinel = await startSentinel(config);
    servers.push(sentinel);
    await eventually(
      async () => (await sentinel.command('SENTINEL', 'replicas', 'limits')) as unknown[],
      (replicas) => replicas.length === 1,
    );
    store = await openRedisLimits(`redis+sentinel://127.0.0.1:${sentinel.port}/limits`, {}, { timeoutMs: 200 });
  });
  afterAll(async () => {
    await store?.close();
    await Promise.all(servers.map((server) => server.close()));
    rmSync(folder, { recursive: true, force: true });
  });

  it('is found, and its replica once it is gone', { timeout: 30_000 }, async () => {
    admitted(await store.take([requests(10), slots(2)]));
    await servers[0]?.command('WAIT', '1', '1000');

    await servers[0]?.kill();
    await expect(store.take([requests()])).rejects.toThrow('Redis is away');

    await eventually(async () => store.up, Boolean);
    expect((await store.take([requests(10)])).admitted).toBe(false);
    expect(await store.look([slots(2)])).toMatchObject([{ reserved: 1 }]);
  });
});
