import type { Duration } from '@bufbuild/protobuf/wkt';
import { CacheMode } from '../../gen/llmgateway/v1/completion_pb.ts';
import { durationOf } from '../time.ts';

/** What a request's `Cache-Control` says of the response cache. */
export interface CacheControl {
  readonly cacheMode: CacheMode;
  readonly cacheMaxAge?: Duration;
}

/** Protobuf's longest Duration. */
const LONGEST_SECONDS = 315_576_000_000;

/** Read a request's `Cache-Control`. `no-store` goes before `no-cache`, and both before `max-age=N`; all else says nothing here. */
export function readCacheControl(header: string | null | undefined): CacheControl {
  if (!header) return { cacheMode: CacheMode.UNSPECIFIED };
  const directives = header
    .toLowerCase()
    .split(',')
    .map((each) => each.trim());
  if (directives.includes('no-store')) return { cacheMode: CacheMode.BYPASS };
  if (directives.includes('no-cache')) return { cacheMode: CacheMode.REFRESH };
  const [seconds] = directives.flatMap((each) => /^max-age="?(\d+)"?$/.exec(each)?.[1] ?? []);
  if (seconds === undefined) return { cacheMode: CacheMode.UNSPECIFIED };
  const cacheMaxAge = durationOf(Math.min(Number(seconds), LONGEST_SECONDS) * 1000);
  return { cacheMode: CacheMode.UNSPECIFIED, cacheMaxAge };
}
