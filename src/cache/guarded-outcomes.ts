import type { MemoryOutcomes } from './memory-outcomes.ts';
import type { Claim, OutcomeStore } from './outcome-store.ts';

/**
 * Keeps outcomes where all replicas find them, and in this process while that place is away.
 *
 * What could only be kept here is looked for here first: nobody else knows it.
 */
export function guardedOutcomes(shared: OutcomeStore, own: MemoryOutcomes): OutcomeStore {
  return {
    async claim(key, fingerprint): Promise<Claim> {
      const known = own.find(key);
      if (known) return known;
      let claim: Claim;
      try {
        claim = await shared.claim(key, fingerprint);
      } catch {
        return own.claim(key, fingerprint);
      }
      if (claim.state !== 'claimed') return claim;
      const { lease } = claim;
      const settle = async (outcome: Uint8Array, ttlMs: number) => {
        try {
          await lease.settle(outcome, ttlMs);
        } catch {
          own.keep(key, fingerprint, outcome, ttlMs);
        }
      };
      return { state: 'claimed', lease: { ...lease, settle } };
    },
  };
}
