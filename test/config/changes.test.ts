import { describe, expect, it } from 'vitest';
import { changedSections, fixedChanges } from '../../src/config/changes.ts';
import { load } from './load.ts';

const digest = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';
const configOf = (yaml: string) => load(yaml).config;
const restart = 'while the gateway runs; restart it';

describe('changes of a configuration', () => {
  it.each([
    ['', 'server: { port: 8080 }', []],
    ['', 'server: { cors_origins: [] }\ncache: { enabled: true }', ['server', 'cache']],
    ['retry: { attempts: 2 }', 'retry: { attempts: 3 }', ['retry']],
    [`keys: [{ name: a, sha256: ${digest} }]`, `keys: [{ name: b, sha256: ${digest} }]`, ['keys']],
    ['providers: [{ name: a, kind: demo }]', 'providers: [{ name: b, kind: demo }]', ['providers']],
  ])('from %j to %j are those of %j', (before, after, sections) => {
    expect(changedSections(configOf(before), configOf(after))).toEqual(sections);
  });

  it.each([
    ['server: { max_in_flight: 5, drain_timeout: 1s, body_limit_bytes: 2000, trusted_proxies: [10.0.0.1] }'],
    ['telemetry: { log_level: debug }\nlimits: { tiers: [{ name: premium, capacity: 5 }] }\ntimeouts: { idle: 1s }'],
    [`keys: [{ name: a, sha256: ${digest} }]`],
  ])('can be made while the gateway runs: %s', (after) => {
    expect(fixedChanges(configOf(''), configOf(after))).toEqual([]);
  });

  it.each([
    ['server: { port: 9090 }', 'server.port', `is 8080, and cannot become 9090 ${restart}`],
    ['server: { host: "::1" }', 'server.host', `is "0.0.0.0", and cannot become "::1" ${restart}`],
    ['server: { header_timeout: 5s }', 'server.header_timeout', `cannot change ${restart}`],
    ['server: { request_timeout: 15s }', 'server.request_timeout', `cannot change ${restart}`],
    ['state: { redis_url: "redis://:secret@h" }', 'state.redis_url', `cannot change ${restart}`],
    ['state: { key_prefix: "other:" }', 'state.key_prefix', `is "llmgw:", and cannot become "other:" ${restart}`],
    ['state: { on_outage: open }', 'state.on_outage', `cannot change ${restart}`],
  ])('cannot be made while the gateway runs: %s', (after, path, message) => {
    expect(fixedChanges(configOf(''), configOf(after))).toEqual([{ path, message }]);
  });

  it('do not open a gateway that was closed', () => {
    const keys = `keys: [{ name: a, sha256: ${digest} }]`;
    const jwt = 'jwt: [{ issuer: i, audience: a, jwks_url: "https://i" }]';
    const message = 'has no key any more, which would open the gateway to everybody; restart it if that is meant';
    expect(fixedChanges(configOf(keys), configOf(''))).toEqual([{ path: 'keys', message }]);
    expect(fixedChanges(configOf(jwt), configOf(''))).toEqual([{ path: 'keys', message }]);
    expect(fixedChanges(configOf(keys), configOf(jwt))).toEqual([]);
  });

  it('name the certificate of the listener', () => {
    const before = configOf('');
    const after = structuredClone(before);
    Object.assign(after.server ?? {}, { tls: { $typeName: 'llmgateway.v1.TlsConfig', certFile: 'a', keyFile: 'b' } });
    expect(fixedChanges(before, after)).toEqual([{ path: 'server.tls', message: `cannot change ${restart}` }]);
  });
});
