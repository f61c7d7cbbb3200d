import { describe, expect, it } from 'vitest';
import { startRedis, withoutRedis } from '../support/redis-server.ts';
import { retryUnderKills } from './retries.ts';

describe.skipIf(withoutRedis)('retries with an idempotency key, over two replicas that are killed in between', () => {
  // bench/idempotency.ts does the same ten thousand times.
  it('reach the upstream at most once while their outcome is known', async () => {
    const redis = await startRedis();
    try {
      const kills = 3;
      const retried = await retryUnderKills({
        redisUrl: redis.url,
        bodies: 300,
        retriesOfEach: 5,
        callers: 12,
        kills,
        killEveryMs: 700,
      });
      expect(retried.askedInVain).toEqual([]);
      expect(retried.contradicted).toEqual([]);
      // Each caller may have had one call under way at a replica that was killed.
      expect(retried.asked).toBeGreaterThanOrEqual(300);
      expect(retried.asked).toBeLessThanOrEqual(300 + kills * 12);
      expect(retried.lost).toBeGreaterThan(0);
    } finally {
      await redis.close();
    }
  }, 120_000);
});
