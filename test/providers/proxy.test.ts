import { describe, expect, it } from 'vitest';
import { proxyFor } from '../../src/providers/proxy.ts';

const proxies = { httpProxy: 'http://proxy.example:3128', httpsProxy: 'http://proxy.example:3129', noProxy: [] };

function isDirect(baseUrl: string, ...noProxy: string[]): boolean {
  return proxyFor(baseUrl, { ...proxies, noProxy }) === undefined;
}

describe('the proxy on the way', () => {
  it('is that of the scheme', () => {
    expect(proxyFor('http://api.example/v1', proxies)).toBe('http://proxy.example:3128');
    expect(proxyFor('https://api.example/v1', proxies)).toBe('http://proxy.example:3129');
    expect(proxyFor('https://api.example', { httpProxy: 'http://proxy.example', noProxy: [] })).toBeUndefined();
    expect(proxyFor('http://api.example', { noProxy: [] })).toBeUndefined();
  });

  it.each([
    'http://127.0.0.1:11434',
    'http://127.9.9.9',
    'http://localhost:1',
    'http://LOCALHOST.',
    'http://ollama.localhost',
    'http://[::1]:8080',
  ])('is none to %s, unless NO_PROXY asks for it', (baseUrl) => {
    expect(isDirect(baseUrl)).toBe(true);
    expect(isDirect(baseUrl, 'other.example', '<-loopback>')).toBe(false);
  });

  it.each([
    ['*', 'https://api.example'],
    ['*:443', 'https://api.example'],
    ['api.example', 'https://api.example/v1'],
    ['API.Example', 'https://api.example'],
    ['api.example.', 'https://api.example'],
    ['api.example', 'https://api.example.'],
    ['example', 'https://api.example'],
    ['.example', 'https://api.example'],
    ['.api.example', 'https://api.example'],
    ['*.example', 'https://a.b.example'],
    ['api.example:443', 'https://api.example'],
    ['api.example:8080', 'http://api.example:8080'],
    ['10.1.2.3', 'http://10.1.2.3'],
    ['10.0.0.0/8', 'http://10.1.2.3:80'],
    ['10.1.2.3:80', 'http://10.1.2.3'],
    ['0.0.0.0/0', 'http://10.1.2.3'],
    ['fd00::/8', 'http://[fd12::1]'],
    ['FD12::1', 'http://[fd12::1]'],
    ['[fd12::1]', 'http://[fd12::1]'],
    ['[fd12::1]:8080', 'http://[fd12::1]:8080'],
  ])('is none where NO_PROXY has %s and the base URL is %s', (entry, baseUrl) => {
    expect(isDirect(baseUrl)).toBe(false);
    expect(isDirect(baseUrl, 'other.test', entry)).toBe(true);
  });

  it.each([
    ['*:80', 'https://api.example'],
    ['*.api.example', 'https://api.example'],
    ['pi.example', 'https://api.example'],
    ['api.example:8443', 'https://api.example'],
    ['api.example.org', 'https://api.example'],
    ['.', 'https://api.example'],
    ['10.0.0.0/8', 'http://11.1.2.3'],
    ['10.0.0.0/8', 'http://10.example'],
    ['10.0.0.0/99', 'http://10.1.2.3'],
    ['10.0.0.0/x', 'http://10.1.2.3'],
    ['1.2.3', 'http://10.1.2.3'],
    ['fd00::/8', 'http://[fe80::1]'],
    ['[fd12::1]:8080', 'http://[fd12::1]'],
    ['10.0.0.0/8', 'http://[::a01:203]'],
  ])('is not left out by %s for %s', (entry, baseUrl) => {
    expect(isDirect(baseUrl, entry)).toBe(false);
  });
});
