import type { Reasoning } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { ClaudeGeneration } from './anthropic-generations.ts';

/** How a request's wish for reasoning is written. */
export interface ThinkingPlan {
  /** The value of `thinking`; undefined: left to the model. */
  readonly thinking: { readonly type: string; readonly budget_tokens?: number; readonly display?: string } | undefined;
  /** The value of `output_config.effort`; undefined: left to the model. */
  readonly effort: string | undefined;
  /** Fields that the model cannot take. */
  readonly unsupported: readonly string[];
  /** Fields that are not heeded this time. */
  readonly leftOut: readonly string[];
}

/** Tokens to think with, for models that know no effort. */
const budgets: ReadonlyMap<string, number> = new Map([
  ['minimal', 1_024],
  ['low', 2_048],
  ['medium', 8_192],
  ['high', 16_384],
  ['xhigh', 32_768],
  ['max', 32_768],
]);

/** The least that the API takes. */
const leastBudget = 1_024;

/** The share of an answer's tokens that thinking may have, where the gateway decides it. */
const thinkingShare = 0.8;

/** Put a wish for reasoning into the words of a model. Thinking counts against `maxTokens`. */
export function planThinking(
  reasoning: Reasoning | undefined,
  { thinking: way }: ClaudeGeneration,
  maxTokens: number,
): ThinkingPlan {
  const { effort = '', budgetTokens, includeText } = reasoning ?? {};
  const unsupported: string[] = [];
  const plan = (thinking?: ThinkingPlan['thinking'], word?: string, leftOut: readonly string[] = []) => ({
    thinking,
    effort: word,
    unsupported,
    leftOut,
  });
  if (effort === 'none') {
    if (way === 'always') unsupported.push('reasoning.effort');
    return plan(way === 'either' || way === 'effort' ? { type: 'disabled' } : undefined);
  }
  const knowsBudget = way === 'budget' || way === 'either';
  const knowsEffort = way !== 'never' && way !== 'budget';
  const word = knowsEffort && effort ? (effort === 'minimal' ? 'low' : effort) : undefined;
  if (budgetTokens !== undefined && !knowsBudget) unsupported.push('reasoning.budget_tokens');
  if (effort !== '' && way === 'never') unsupported.push('reasoning.effort');
  if (budgetTokens !== undefined && knowsBudget) return plan({ type: 'enabled', budget_tokens: budgetTokens }, word);
  if (effort === '' && budgetTokens === undefined) return plan();
  if (knowsEffort) {
    const display = includeText === undefined ? {} : { display: includeText ? 'summarized' : 'omitted' };
    return plan({ type: 'adaptive', ...display }, word);
  }
  if (way === 'never') return plan();
  const wanted = budgets.get(effort);
  if (wanted === undefined) unsupported.push('reasoning.effort');
  const budget = Math.min(wanted ?? 0, Math.floor(maxTokens * thinkingShare));
  if (budget < leastBudget) return plan(undefined, undefined, wanted === undefined ? [] : ['reasoning.effort']);
  return plan({ type: 'enabled', budget_tokens: budget });
}
