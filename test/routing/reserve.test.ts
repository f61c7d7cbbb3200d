import { describe, expect, it } from 'vitest';
import type { Need } from '../../src/routing/need.ts';
import { mostTaken } from '../../src/routing/reserve.ts';
import { scripted, targetOf } from '../attempt/fake-provider.ts';

const need: Need = {
  promptTokens: 1000,
  windowTokens: 1000,
  outputTokens: 500,
  n: 1,
  tools: false,
  vision: false,
  jsonSchema: false,
};

function target(name: string, rates: { input?: number; output?: number } | undefined, maxOutputTokens?: number) {
  return targetOf(scripted(name, []), { model: 'm', priceOf: () => rates, maxOutputTokens });
}

describe('what a call may take at most', () => {
  it('is its prompt and the answers that it allows, at the dearest target', () => {
    const targets = [target('cheap', { input: 1, output: 2 }), target('dear', { input: 3, output: 10 })];
    expect(mostTaken(targets, { ...need, n: 2 })).toEqual({
      promptTokens: 1000,
      completionTokens: 1000,
      usd: expect.closeTo(0.013, 12),
      unpriced: undefined,
      bounded: true,
    });
  });

  it('is money for all that the model may write, and tokens of a usual answer, where the request sets no bound', () => {
    const targets = [target('long', { input: 0, output: 1 }, 64_000), target('unknown', { input: 0, output: 2 })];
    expect(mostTaken(targets, { ...need, outputTokens: undefined })).toEqual({
      promptTokens: 1000,
      completionTokens: 1024,
      usd: 0.064,
      unpriced: undefined,
      bounded: false,
    });
  });

  it('is unknown money where any target has no price, or only half of one', () => {
    const known = target('known', { input: 1, output: 1 });
    expect(mostTaken([known, target('free', undefined)], need)).toMatchObject({ usd: undefined, unpriced: 'free/m' });
    expect(mostTaken([known, target('half', { input: 1 })], need)).toMatchObject({
      usd: undefined,
      unpriced: 'half/m',
    });
  });

  it('is the prompt alone of an embedding', () => {
    const targets = [target('embedder', { input: 0.1 })];
    expect(mostTaken(targets, { ...need, outputTokens: 0 })).toMatchObject({
      completionTokens: 0,
      usd: 0.0001,
      bounded: true,
    });
  });
});
