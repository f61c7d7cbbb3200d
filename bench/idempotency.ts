/** Ten thousand retries with idempotency keys over two replicas that are killed in between; tells how often that was in vain. */

import { retryUnderKills } from '../test/cache/retries.ts';
import { startRedis } from '../test/support/redis-server.ts';

const redis = await startRedis();
try {
  const began = performance.now();
  const { answered, lost, asked, askedInVain, contradicted } = await retryUnderKills({
    redisUrl: redis.url,
    bodies: 1000,
    retriesOfEach: 10,
    callers: 16,
    kills: 10,
    killEveryMs: 2000,
  });
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  console.log(
    `${answered} calls with 1000 keys were answered in ${seconds} s; ${lost} tries met a replica that was gone`,
  );
  console.log(`the upstream was asked ${asked} times, ${asked - 1000} of them again because nobody knew the outcome`);
  console.log(
    `asked though the outcome was known: ${askedInVain.length} (must be 0); answered in two ways: ${contradicted.length}`,
  );
  if (askedInVain.length > 0) process.exitCode = 1;
} finally {
  await redis.close();
}
