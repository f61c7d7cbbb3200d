import { create } from '@bufbuild/protobuf';
import { type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';

const written =
  /^(\d{4})-(\d\d)-(\d\d)(?:(?:[Tt]|[ \t]+)(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?[ \t]*(?:[Zz]|([+-])(\d\d?)(?::?(\d\d))?)?)?$/;

/**
 * Read a time of RFC 3339 or YAML: `2027-01-01T00:00:00Z`, `2027-01-01 00:00:00 +01:00`, `2027-01-01`. Undefined: it is not one.
 *
 * Without a zone it is UTC, without a time of day its first second, as YAML has it.
 */
export function parseTimestamp(text: string): Timestamp | undefined {
  const match = written.exec(text);
  if (!match) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((digits) => Number(digits ?? 0));
  const [fraction = '', sign, offsetHours = '0', offsetMinutes = '0'] = match.slice(7);
  const local = [year, month, day, hour, minute, second].map((part, index) =>
    `${part}`.padStart(index === 0 ? 4 : 2, '0'),
  );
  const iso = `${local.slice(0, 3).join('-')}T${local.slice(3).join(':')}.000Z`;
  const ms = Date.parse(iso);
  // Date.parse takes the 30th of February for the 2nd of March.
  if (Number.isNaN(ms) || new Date(ms).toISOString() !== iso) return undefined;
  if (Number(offsetHours) > 23 || Number(offsetMinutes) > 59) return undefined;
  const offset = (sign === '-' ? -1 : 1) * (Number(offsetHours) * 3600 + Number(offsetMinutes) * 60);
  return create(TimestampSchema, { seconds: BigInt(ms / 1000 - offset), nanos: Number(fraction.padEnd(9, '0')) });
}
