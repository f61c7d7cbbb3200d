import { create } from '@bufbuild/protobuf';
import { type Duration, DurationSchema, durationMs } from '@bufbuild/protobuf/wkt';

const nanosOf = {
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
  d: 86_400_000_000_000n,
};
const written = /^(\d{1,12})(?:\.(\d{1,9}))?(ms|s|m|h|d)$/;

/** The most seconds that google.protobuf.Duration can hold: 10,000 years. */
const MAX_SECONDS = 315_576_000_000n;

/** Read a duration such as `800ms`, `1.5s`, `5m`, `1h` or `30d`; undefined: it is not one. */
export function parseDuration(text: string): Duration | undefined {
  const match = written.exec(text);
  if (!match) return undefined;
  const [, whole = '', fraction = '', unit = 's'] = match;
  const unitNanos = nanosOf[unit as keyof typeof nanosOf];
  const nanos = (BigInt(whole + fraction) * unitNanos) / 10n ** BigInt(fraction.length);
  if (nanos > MAX_SECONDS * nanosOf.s) return undefined;
  return create(DurationSchema, { seconds: nanos / nanosOf.s, nanos: Number(nanos % nanosOf.s) });
}

/** Write a duration as files do: in the largest unit that gives a whole number, but never in minutes (`120s`, `600s`). */
export function formatDuration(duration: Duration): string {
  const ms = durationMs(duration);
  for (const unit of ['d', 'h', 's'] as const) {
    const unitMs = Number(nanosOf[unit] / nanosOf.ms);
    if (ms !== 0 && ms % unitMs === 0) return `${ms / unitMs}${unit}`;
  }
  return ms === 0 ? '0s' : `${ms}ms`;
}
