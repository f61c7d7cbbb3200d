import type { Duration, Timestamp } from '@bufbuild/protobuf/wkt';

/** A Duration or Timestamp as a number of seconds. */
export function secondsOf({ seconds, nanos }: Duration | Timestamp): number {
  return Number(seconds) + nanos / 1e9;
}

/** A Timestamp in RFC 3339, null when unset. */
export function rfc3339(time: Timestamp | undefined): string | null {
  return time ? new Date(secondsOf(time) * 1000).toISOString() : null;
}
