import { describe, expect, it } from 'vitest';
import { parseRedisUrl } from '../../src/store/redis-url.ts';

const plain = { kind: 'single', tls: false, username: undefined, password: undefined, database: 0, master: '' };

describe('the URL of a Redis', () => {
  it.each([
    ['redis://localhost', { ...plain, nodes: [{ host: 'localhost', port: 6379 }] }],
    ['redis://localhost:6380/', { ...plain, nodes: [{ host: 'localhost', port: 6380 }] }],
    ['REDIS://10.0.0.1/2', { ...plain, nodes: [{ host: '10.0.0.1', port: 6379 }], database: 2 }],
    ['redis://[::1]:7000', { ...plain, nodes: [{ host: '::1', port: 7000 }] }],
    [
      'rediss://user:p%40ss%2Fword@cache.example.com:6390/1',
      {
        ...plain,
        tls: true,
        username: 'user',
        password: 'p@ss/word',
        nodes: [{ host: 'cache.example.com', port: 6390 }],
        database: 1,
      },
    ],
    ['redis://:secret@h', { ...plain, password: 'secret', nodes: [{ host: 'h', port: 6379 }] }],
    [
      'redis+sentinel://:secret@a:1,b/mymaster/3',
      {
        ...plain,
        kind: 'sentinel',
        password: 'secret',
        nodes: [
          { host: 'a', port: 1 },
          { host: 'b', port: 26379 },
        ],
        master: 'mymaster',
        database: 3,
      },
    ],
    [
      'rediss+cluster://a:1,b',
      {
        ...plain,
        kind: 'cluster',
        tls: true,
        nodes: [
          { host: 'a', port: 1 },
          { host: 'b', port: 6379 },
        ],
      },
    ],
  ])('%s', (url, place) => {
    expect(parseRedisUrl(url)).toEqual(place);
  });

  it.each([
    '',
    'localhost:6379',
    'http://localhost',
    'redis://',
    'redis://a,b',
    'redis://h:0',
    'redis://h:65536',
    'redis://h/db',
    'redis://h/0/1',
    'redis://h?x=1',
    'redis://h h',
    'redis://%zz@h',
    'redis+sentinel://a:1,b:2',
    'redis+sentinel://a:1,/m',
    'redis+cluster://a/1',
    'redis+unknown://a',
  ])('is not %s', (url) => {
    expect(parseRedisUrl(url)).toBeUndefined();
  });
});
