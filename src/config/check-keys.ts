import type { Config, KeyConfig } from '../../gen/llmgateway/v1/config_pb.ts';
import type { Findings } from './findings.ts';
import { showChoice, suggest } from './show.ts';

/** Refuse tiers that share a name, keys of tiers that are not there, one key under two entries, and two budgets of one name. */
export function checkKeys({ keys, limits }: Config, findings: Findings): void {
  checkBudgets(keys, findings);
  const tiers = new Map<string, string>();
  for (const [index, { name }] of (limits?.tiers ?? []).entries()) {
    findings.refuseTaken(`limits.tiers[${index}].name`, name, tiers);
  }
  // A tier without a name may be the one that is meant.
  const areComplete = limits?.tiers.every(({ name }) => name !== '');
  const digests = new Map<string, string>();
  for (const [index, { tier, sha256 }] of keys.entries()) {
    const path = `keys[${index}]`;
    if (areComplete && !tiers.has(tier)) {
      findings.refuse(`${path}.tier`, problemWithTier(tier, [...tiers.keys()], findings.origin(`${path}.tier`)?.text));
    }
    const origin = findings.origin(path);
    const place = origin?.variable ? `${origin.variable}, ${origin.part}` : path;
    const before = digests.get(sha256);
    if (before) findings.refuse(`${path}.sha256`, `is the digest of the same key as ${before}`);
    else if (sha256 !== '') digests.set(sha256, place);
  }
}

/** Keys that share a name share its budget: one of them may have it for all. */
function checkBudgets(keys: readonly KeyConfig[], findings: Findings): void {
  const first = new Map<string, number>();
  for (const [index, { name, budgetUsd, budgetPeriod }] of keys.entries()) {
    if (budgetUsd === undefined) continue;
    const before = first.get(name);
    const other = before === undefined ? undefined : keys[before];
    if (other === undefined) {
      first.set(name, index);
      continue;
    }
    const isSamePeriod = other.budgetPeriod?.seconds === budgetPeriod?.seconds;
    if (isSamePeriod && other.budgetUsd === budgetUsd) continue;
    const field = other.budgetUsd === budgetUsd ? 'budget_period' : 'budget_usd';
    findings.refuse(`keys[${index}].${field}`, `must be as that of keys[${before}], which has the same name`);
  }
}

/** A tier that is not to be shown stands in GATEWAY_API_KEYS, where it may be a key in the wrong place. */
function problemWithTier(tier: string, known: readonly string[], shown: string | undefined): string {
  return shown === undefined
    ? `unknown tier; must be ${showChoice(known)}`
    : `unknown tier ${shown}${suggest(tier, known)}`;
}
