import { create, fromBinary, fromJson, type MessageInitShape, toBinary, toJson } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CacheMode,
  type CompletionRequest,
  CompletionRequestSchema,
  Role,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { cacheKey, completionFingerprint, type KeyTarget } from '../../src/cache/key.ts';
import { randomRequest } from '../support/random-request.ts';
import { changesOfRequests } from './each-field.ts';

const target = (provider: string, model: string): KeyTarget => ({ provider: { name: provider }, model });
const targets = [target('groq', 'llama'), target('gemini', 'flash')];

function keyOf(request: CompletionRequest): string {
  return cacheKey(request, 'search-team', targets);
}

function requestOf(fields: MessageInitShape<typeof CompletionRequestSchema> = {}): CompletionRequest {
  return create(CompletionRequestSchema, {
    model: 'fast',
    messages: [{ role: Role.USER, parts: [{ kind: { case: 'text', value: 'hi' } }] }],
    ...fields,
  });
}

/** Of the fields of a request, those that say how a call is carried or hint at the provider's own cache. */
const carriage = (path: readonly string[]) =>
  path[0] === 'options' || path[0] === 'model' || path.includes('cache_breakpoint');

const changes = changesOfRequests();

describe('the cache key', () => {
  it('is tried with every field of the contract', () => {
    expect(changes.length).toBeGreaterThan(150);
    expect(changes.filter(({ path }) => carriage(path)).length).toBeGreaterThan(10);
  });

  it.each(changes.filter(({ path }) => !carriage(path)).map((change) => [change.title, change] as const))(
    'changes with %s',
    (_, { before, after }) => {
      expect(keyOf(after as CompletionRequest)).not.toBe(keyOf(before as CompletionRequest));
    },
  );

  it.each(changes.filter(({ path }) => carriage(path)).map((change) => [change.title, change] as const))(
    'stays the same with %s',
    (_, { before, after }) => {
      expect(keyOf(after as CompletionRequest)).toBe(keyOf(before as CompletionRequest));
    },
  );

  it('is the same for the same request, however it came', () => {
    fc.assert(
      fc.property(randomRequest({ efforts: ['low'], serviceTiers: ['auto'] }), (request) => {
        const key = keyOf(request);
        expect(key).toMatch(/^[0-9a-f]{64}$/);
        const asBinary = fromBinary(CompletionRequestSchema, toBinary(CompletionRequestSchema, request));
        const asJson = fromJson(CompletionRequestSchema, toJson(CompletionRequestSchema, request));
        expect(keyOf(asBinary)).toBe(key);
        expect(keyOf(asJson)).toBe(key);
      }),
      { numRuns: 300 },
    );
  });

  it('does not depend on the order of a map', () => {
    const one = requestOf({ logitBias: { '1': 1, '2': 2 }, extraJson: { gemini: '{"a":1}', anthropic: '{"b":2}' } });
    const other = requestOf({ extraJson: { anthropic: '{"b":2}', gemini: '{"a":1}' } });
    other.logitBias = Object.fromEntries([
      ['x', 0],
      ['2', 2],
      ['1', 1],
    ]);
    delete other.logitBias.x;
    expect(keyOf(other)).toBe(keyOf(one));
  });

  it('tells unset from zero', () => {
    const keys = [{}, { temperature: 0 }, { seed: 0 }, { topP: 0 }, { logprobs: false }, { parallelToolCalls: false }];
    expect(new Set(keys.map((fields) => keyOf(requestOf(fields)))).size).toBe(keys.length);
  });

  it('tells callers apart', () => {
    expect(cacheKey(requestOf(), 'a', targets)).not.toBe(cacheKey(requestOf(), 'b', targets));
  });

  it('depends on the targets, not on their order', () => {
    const key = keyOf(requestOf());
    expect(cacheKey(requestOf(), 'search-team', targets.toReversed())).toBe(key);
    expect(cacheKey(requestOf(), 'search-team', targets.slice(0, 1))).not.toBe(key);
    expect(cacheKey(requestOf(), 'search-team', [target('groq', 'llama'), target('gemini', 'pro')])).not.toBe(key);
  });

  it('depends on how one of several targets is chosen', () => {
    const keys = ['', 'first', 'second'].map((choice) => cacheKey(requestOf(), 'a', targets, choice));
    expect(new Set(keys).size).toBe(3);
    const [only] = targets.map((one) => cacheKey(requestOf(), 'a', [one]));
    expect(cacheKey(requestOf(), 'a', targets.slice(0, 1), 'second')).toBe(only);
  });

  it('cannot be made equal by moving words between scope, targets and texts', () => {
    const keys = [
      cacheKey(requestOf(), 'a', [target('b', 'c')]),
      cacheKey(requestOf(), 'a1', [target('b', 'c')]),
      cacheKey(requestOf(), 'a', [target('b', 'c1')]),
      cacheKey(requestOf(), 'ab', [target('', 'c')]),
      cacheKey(requestOf(), '', [target('ab', 'c')]),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    const texts = (...words: string[]) =>
      keyOf(requestOf({ messages: words.map((value) => ({ role: 2, parts: [{ kind: { case: 'text', value } }] })) }));
    expect(new Set([texts('ab', 'c'), texts('a', 'bc'), texts('abc'), texts('abc', '')]).size).toBe(4);
  });

  const labels = ['user', 'safety_identifier', 'store', 'metadata', 'prompt_cache_key', 'prompt_cache_options'];
  it.each([...labels, 'prompt_cache_retention'])('does not depend on %s', (label) => {
    const plain = keyOf(requestOf());
    const withOne = { verbosity: 'low' };
    const more = keyOf(requestOf({ extraJson: { openai: JSON.stringify(withOne) } }));
    expect(keyOf(requestOf({ extraJson: { openai: JSON.stringify({ [label]: { a: [1, '}'] } }) } }))).toBe(plain);
    for (const labelled of [
      { [label]: 'x', ...withOne },
      { ...withOne, [label]: '"},' },
    ]) {
      expect(keyOf(requestOf({ extraJson: { openai: JSON.stringify(labelled) } }))).toBe(more);
    }
    // Only in OpenAI's extras of the request: elsewhere nobody knows what the word means.
    expect(keyOf(requestOf({ extraJson: { gemini: JSON.stringify({ [label]: 'x' }) } }))).not.toBe(plain);
    expect(keyOf(requestOf({ extraJson: { openai: JSON.stringify({ a: { [label]: 'x' } }) } }))).not.toBe(plain);
  });

  it('keeps every digit of an extra', () => {
    const keys = ['12345678901234567890', '12345678901234567891'].map((number) =>
      keyOf(requestOf({ extraJson: { openai: `{"user":"a","large":${number}}` } })),
    );
    expect(keys[0]).not.toBe(keys[1]);
  });

  it('counts media by every byte', () => {
    const image = (data: Uint8Array) =>
      keyOf(
        requestOf({
          messages: [
            { role: 2, parts: [{ kind: { case: 'image', value: { source: { case: 'data', value: data } } } }] },
          ],
        }),
      );
    const large = new Uint8Array(3 * 1024 * 1024);
    const other = large.slice();
    other[2_999_999] = 1;
    expect(image(large)).toBe(image(large.slice()));
    expect(image(other)).not.toBe(image(large));
    // What was written for a large one is gone, and not in the next.
    expect(keyOf(requestOf())).toBe(keyOf(requestOf()));
  });
});

describe('the fingerprint of a request', () => {
  const own = new Set(['idempotency_key', 'request_id', 'timeout', 'cache_mode', 'cache_max_age']);
  const isOwn = (path: readonly string[]) => path[0] === 'options' && own.has(path[1] ?? '');
  const fingerprintOf = (request: object) => completionFingerprint(request as CompletionRequest);

  it.each(changes.filter(({ path }) => !isOwn(path)).map((change) => [change.title, change] as const))(
    'changes with %s',
    (_, { before, after }) => expect(fingerprintOf(after)).not.toBe(fingerprintOf(before)),
  );

  it('does not depend on what may differ from one attempt of a caller to the next', () => {
    const attempts = [
      requestOf({ options: { idempotencyKey: 'a', requestId: '1', cacheMode: CacheMode.REFRESH } }),
      requestOf({ options: { idempotencyKey: 'a', requestId: '2', timeout: { seconds: 3n } } }),
      requestOf({ options: { idempotencyKey: 'a', cacheMaxAge: { seconds: 3n } } }),
    ];
    expect(new Set(attempts.map(fingerprintOf)).size).toBe(1);
  });
});
