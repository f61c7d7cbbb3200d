/** What the models of one generation of Claude can take, as far as it decides how a request is written. */
export interface ClaudeGeneration {
  /** The most tokens of an answer; undefined: unknown. */
  readonly maxOutputTokens: number | undefined;
  /**
   * How it is told to think: not at all, by a budget of tokens, by either a budget or an effort, by an effort only, or by an
   * effort without a way to switch thinking off.
   */
  readonly thinking: 'never' | 'budget' | 'either' | 'effort' | 'always';
  /** Whether temperature, top_p and top_k may be set: later models answer 400 to every value but the default. */
  readonly sampling: boolean;
}

/**
 * Documented at https://platform.claude.com/docs/en/about-claude/models/overview, as of 2026-11. The first that matches counts.
 *
 * Whatever calls itself Claude and is none of the older ones is taken for one of the newest.
 */
const generations: readonly (readonly [name: RegExp, generation: ClaudeGeneration])[] = [
  [/claude-(instant|[12])\b/, { maxOutputTokens: 4_096, thinking: 'never', sampling: true }],
  [/claude-3-5-/, { maxOutputTokens: 8_192, thinking: 'never', sampling: true }],
  [/claude-3-7-/, { maxOutputTokens: 64_000, thinking: 'budget', sampling: true }],
  [/claude-3-/, { maxOutputTokens: 4_096, thinking: 'never', sampling: true }],
  [/claude-opus-4(-[01])?(?!-\d\b)/, { maxOutputTokens: 32_000, thinking: 'budget', sampling: true }],
  [/claude-\w+-4(-[05])?(?!-\d\b)/, { maxOutputTokens: 64_000, thinking: 'budget', sampling: true }],
  [/claude-\w+-4-6\b/, { maxOutputTokens: 128_000, thinking: 'either', sampling: true }],
  [/claude-(fable|mythos|opus-5-5)\b/, { maxOutputTokens: 128_000, thinking: 'always', sampling: false }],
  [/claude-/, { maxOutputTokens: 128_000, thinking: 'effort', sampling: false }],
];

/** A model of a name that tells nothing, behind somebody's own base URL: everything is passed on, for it to judge. */
const unknown: ClaudeGeneration = { maxOutputTokens: undefined, thinking: 'either', sampling: true };

/** The generation of a model. */
export function generationOf(model: string): ClaudeGeneration {
  return generations.find(([name]) => name.test(model))?.[1] ?? unknown;
}
