import { describe, expect, it } from 'vitest';
import { ConfigError, loadConfig, type Problem } from '../../src/config.ts';

function networkOf(environment: Record<string, string>) {
  return loadConfig({ environment }).network;
}

function problemsWith(environment: Record<string, string>): readonly Problem[] {
  try {
    loadConfig({ environment });
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('the way to the outside', () => {
  it('is as the standard variables say', () => {
    const environment = {
      HTTP_PROXY: 'http://user:p%40ss@proxy.example:3128',
      HTTPS_PROXY: 'https://proxy.example',
      NO_PROXY: ' .example.com, 10.0.0.0/8,,localhost:8080 ',
      SSL_CERT_FILE: '/etc/ssl/ours.pem',
    };
    expect(networkOf(environment)).toEqual({
      httpProxy: 'http://user:p%40ss@proxy.example:3128',
      httpsProxy: 'https://proxy.example',
      noProxy: ['.example.com', '10.0.0.0/8', 'localhost:8080'],
      caFile: '/etc/ssl/ours.pem',
    });
  });

  it('is as their lower-case names say, where both are there', () => {
    const both = { http_proxy: 'http://lower', HTTP_PROXY: 'http://upper', no_proxy: 'lower', NO_PROXY: 'upper' };
    expect(networkOf(both)).toEqual({ httpProxy: 'http://lower', noProxy: ['lower'] });
    expect(networkOf({ https_proxy: '', HTTPS_PROXY: 'http://upper' }).httpsProxy).toBe('http://upper');
  });

  it('takes a proxy without a scheme for one of http', () => {
    expect(networkOf({ HTTPS_PROXY: 'proxy.example:3128' }).httpsProxy).toBe('http://proxy.example:3128');
  });

  it.each([
    ['HTTP_PROXY', 'socks5://proxy.example:1080'],
    ['https_proxy', 'http://'],
    ['HTTPS_PROXY', 'http://user:50%@secret.example'],
    ['http_proxy', 'http://proxy.example:99999'],
  ])('refuses %s %s without repeating it', (variable, value) => {
    const message = 'must be the http or https URL of a proxy, such as http://proxy.example:3128';
    expect(problemsWith({ [variable]: value })).toEqual([{ path: variable, message }]);
  });
});
