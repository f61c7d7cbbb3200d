import type { Reasoning } from '../../gen/llmgateway/v1/completion_pb.ts';
import { generationOf } from './gemini-generations.ts';
import type { JsonObject } from './json-value.ts';

/** Thinking as a model takes it, and the fields for which it has no place. */
export interface WrittenThinking {
  /** Undefined: nothing is said of it. */
  readonly config: JsonObject | undefined;
  /** Fields that the model cannot take. */
  readonly refused: readonly string[];
  /** Fields beside which another one counts: Gemini refuses an amount that is told in two ways. */
  readonly leftOut: readonly string[];
}

/** Levels of the third generation and later; words that others use for more mean its most. */
const levels: Readonly<Record<string, string>> = {
  minimal: 'MINIMAL',
  low: 'LOW',
  medium: 'MEDIUM',
  high: 'HIGH',
  xhigh: 'HIGH',
  max: 'HIGH',
};

/** Tokens that Google's own OpenAI path gives generation 2.5 for the same words; -1 lets the model decide. */
const budgets: Readonly<Record<string, number>> = {
  none: 0,
  minimal: 1_024,
  low: 1_024,
  medium: 8_192,
  high: 24_576,
  xhigh: 24_576,
  max: 24_576,
  auto: -1,
  default: -1,
};

/** The least that a 2.5 Pro thinks: it cannot be told not to. */
const leastProBudget = 128;

/** Write how much a model shall think: a level from the third generation on, a budget of tokens for 2.5, nothing before. */
export function writeThinking(reasoning: Reasoning | undefined, model: string): WrittenThinking {
  const generation = generationOf(model);
  const effort = reasoning?.effort || undefined;
  const budget = reasoning?.budgetTokens;
  if (generation < 2.5) {
    const refused = [
      ...(effort === undefined || effort === 'none' ? [] : ['reasoning.effort']),
      ...(budget ? ['reasoning.budget_tokens'] : []),
    ];
    return { config: undefined, refused, leftOut: [] };
  }
  const refused: string[] = [];
  const leftOut: string[] = [];
  const config: JsonObject = {};
  if (generation >= 3) {
    if (effort !== undefined) config.thinkingLevel = levelOf(effort, model);
    else if (budget !== undefined) config.thinkingBudget = budget;
    if (effort !== undefined && budget !== undefined) leftOut.push('reasoning.budget_tokens');
  } else {
    const wanted = budget ?? budgets[effort ?? ''];
    if (wanted !== undefined) {
      config.thinkingBudget = /-pro/.test(model) && wanted >= 0 ? Math.max(wanted, leastProBudget) : wanted;
    } else if (effort !== undefined) refused.push('reasoning.effort');
    if (effort !== undefined && budget !== undefined) leftOut.push('reasoning.effort');
  }
  if (reasoning?.includeText !== undefined) config.includeThoughts = reasoning.includeText;
  return { config: Object.keys(config).length > 0 ? config : undefined, refused, leftOut };
}

/** The third generation cannot be told not to think; Pro models do not know its least level either. A new word goes on as it is. */
function levelOf(effort: string, model: string): string {
  if (effort === 'none' || effort === 'minimal') return /-pro/.test(model) ? 'LOW' : 'MINIMAL';
  return levels[effort] ?? effort.toUpperCase();
}
