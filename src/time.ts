import type { Duration, Timestamp } from '@bufbuild/protobuf/wkt';

// protobuf-es has both conversions, but leaves fractions of a nanosecond where there are fractions of a millisecond, and such a
// message cannot be encoded; and rounds to whole milliseconds on the way back.

/** A protobuf Duration of so many milliseconds, to the nanosecond. */
export function durationOf(ms: number): Duration {
  const seconds = Math.trunc(ms / 1000);
  const nanos = Math.round((ms - seconds * 1000) * 1e6);
  return { $typeName: 'google.protobuf.Duration', seconds: BigInt(seconds), nanos: Math.min(nanos, 999_999_999) };
}

/** The milliseconds of a protobuf Duration, with their fraction. */
export function millisecondsOf({ seconds, nanos }: Duration): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}

/** A protobuf Timestamp of so many milliseconds since 1970, to the nanosecond. */
export function timestampOf(ms: number): Timestamp {
  const { seconds, nanos } = durationOf(ms);
  return { $typeName: 'google.protobuf.Timestamp', seconds, nanos };
}
