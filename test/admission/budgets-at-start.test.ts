import { describe, expect, it } from 'vitest';
import { checkBudgets } from '../../src/app.ts';
import { load } from '../config/load.ts';

const digest = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';

/** A configuration with a known price at `local/known` and none at `local/unknown`. */
function yaml(key: string): string {
  return `
providers:
  - { name: local, kind: openai_compatible, base_url: "http://127.0.0.1:1/v1", default_model: unknown }
  - { name: groq, kind: groq, api_key: k }
models:
  - { provider: local, id: known, input_price: 0, output_price: 0 }
  - { provider: local, id: embedder, input_price: 0.1 }
routes:
  - { model: fast, targets: [{ provider: local, model: known }, { provider: groq, model: openai/gpt-oss-20b }] }
  - { model: embed, targets: [{ provider: local, model: embedder }] }
  - { model: slow, targets: [{ provider: local }] }
  - { model: local/alias, targets: [{ provider: local, model: known }] }
  - { model: "any-*", targets: [{ provider: local, model: "" }] }
keys:
  - { name: ads-team, sha256: ${digest.replace('9', '8')} }
  - { name: search-team, sha256: ${digest}, ${key} }
`;
}

describe('a budget', () => {
  it.each([
    'budget_usd: 5, models: [local/alias, elsewhere/unknown, "local/pri*d"]',
    'budget_usd: 5, models: [fast, embed]',
    'budget_usd: 5, models: ["groq/*", local/known]',
    'models: [slow]',
  ])('can be kept with %s', (key) => {
    expect(() => checkBudgets(load(yaml(key)))).not.toThrow();
  });

  it('is refused at start for a target that the key names and no route has', () => {
    expect(() => checkBudgets(load(yaml('budget_usd: 5, models: [fast, local/un/priced]')))).toThrowError(
      expect.objectContaining({
        problems: [{ path: 'keys[1].budget_usd', message: expect.stringContaining(' for local/un/priced, ') }],
      }),
    );
  });

  it.each(['budget_usd: 5', 'budget_usd: 0, models: [slow]', 'budget_usd: 5, models: [local/unknown, fast]'])(
    'is refused at start where a price is unknown, with %s',
    (key) => {
      expect(() => checkBudgets(load(yaml(key)))).toThrowError(
        expect.objectContaining({
          problems: [
            {
              path: 'keys[1].budget_usd',
              message:
                'the price is unknown where this key may call: give it in models for local/unknown, or leave these out of its models',
            },
          ],
        }),
      );
    },
  );
});
