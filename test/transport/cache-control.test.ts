import { create } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from 'vitest';
import { CacheMode, CompletionRequestSchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import { accountHeaders, failureHeaders } from '../../src/transport/account-headers.ts';
import { readCacheControl } from '../../src/transport/cache-control.ts';
import { adoptOptionHeaders } from '../../src/transport/rpc/option-headers.ts';

describe('Cache-Control of a request', () => {
  it.each([
    ['no-store', CacheMode.BYPASS, undefined],
    ['No-Store', CacheMode.BYPASS, undefined],
    ['no-cache', CacheMode.REFRESH, undefined],
    ['max-age=0, no-cache', CacheMode.REFRESH, undefined],
    ['no-cache,no-store', CacheMode.BYPASS, undefined],
    ['max-age=60', CacheMode.UNSPECIFIED, 60_000],
    ['private, MAX-AGE="7" , x', CacheMode.UNSPECIFIED, 7000],
    ['max-age=0', CacheMode.UNSPECIFIED, 0],
    ['max-age=99999999999999999999', CacheMode.UNSPECIFIED, 315_576_000_000_000],
    ['max-age=-1', CacheMode.UNSPECIFIED, undefined],
    ['max-age=x, no-transform', CacheMode.UNSPECIFIED, undefined],
    ['s-maxage=5, x-no-store=1', CacheMode.UNSPECIFIED, undefined],
    ['', CacheMode.UNSPECIFIED, undefined],
    [undefined, CacheMode.UNSPECIFIED, undefined],
  ])('%j is read', (header, cacheMode, maxAgeMs) => {
    const read = readCacheControl(header);
    expect([read.cacheMode, read.cacheMaxAge && durationMs(read.cacheMaxAge)]).toEqual([cacheMode, maxAgeMs]);
  });
});

describe('the metadata of an rpc', () => {
  const headers = new Headers({ 'idempotency-key': 'k1', 'cache-control': 'max-age=5' });

  it('fills what the message leaves out', () => {
    const request = create(CompletionRequestSchema);
    adoptOptionHeaders(request, headers);
    expect(request.options).toMatchObject({ idempotencyKey: 'k1', cacheMaxAge: { seconds: 5n } });
  });

  it('does not change what the message says', () => {
    const options = { idempotencyKey: 'own', cacheMode: CacheMode.USE };
    const request = create(CompletionRequestSchema, { options });
    adoptOptionHeaders(request, headers);
    expect(request.options).toMatchObject(options);
    expect(request.options?.cacheMaxAge).toBeUndefined();
  });

  it('without any of it makes no options', () => {
    const request = create(CompletionRequestSchema);
    adoptOptionHeaders(request, new Headers({ te: 'trailers' }));
    expect(request.options).toBeUndefined();
  });
});

describe('the headers of an answer', () => {
  it.each([
    [{ tries: 1 }, {}],
    [{ tries: 1, cache: { status: 'bypass' as const } }, { 'x-cache': 'BYPASS' }],
    [
      { tries: 1, cache: { status: 'miss' as const, key: 'a1' } },
      { 'x-cache': 'MISS', 'x-cache-key': 'a1' },
    ],
    [
      { tries: 0, cache: { status: 'hit' as const, key: 'a1', ageMs: 61_999 } },
      { 'x-cache': 'HIT', 'x-cache-key': 'a1', age: '61' },
    ],
    [{ tries: 0, repeated: true }, { 'idempotent-replayed': 'true' }],
  ])('tell what is in %j', (account, headers) => expect(accountHeaders(account)).toEqual(headers));

  it('tell of a failure only whether it is that of an earlier call', () => {
    const cache = { status: 'hit' as const, key: 'a1', ageMs: 0 };
    expect(failureHeaders({ tries: 0, cache, repeated: true })).toEqual({ 'idempotent-replayed': 'true' });
    expect(failureHeaders({ tries: 0, cache })).toEqual({});
    expect(failureHeaders(undefined)).toEqual({});
  });
});
