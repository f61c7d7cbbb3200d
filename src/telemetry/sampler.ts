import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  type IdGenerator,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import { newId } from '../new-id.ts';

/** What `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say. */
export interface SamplerChoice {
  readonly name: string;
  readonly argument: string;
}

/**
 * Which traces are kept, as the standard variables say; else all of those that callers do not leave out.
 *
 * The SDK reads the same, and keeps its sampler to itself: whoever asks before a span is begun saves 10 µs for each call of which
 * nothing is kept.
 *
 * @see https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export function samplerFrom(choice: SamplerChoice | undefined, log: Logger): Sampler {
  const { name = '', argument = '' } = choice ?? {};
  const root = rootSampler(name.replace(/^parentbased_/, ''), argument, log);
  if (root) return name.startsWith('parentbased_') ? new ParentBasedSampler({ root }) : root;
  if (name !== '') log.warn({ complaint: `OTEL_TRACES_SAMPLER has the unknown value "${name}"` }, 'all is traced');
  return new ParentBasedSampler({ root: new AlwaysOnSampler() });
}

function rootSampler(name: string, argument: string, log: Logger): Sampler | undefined {
  switch (name) {
    case 'always_on':
      return new AlwaysOnSampler();
    case 'always_off':
      return new AlwaysOffSampler();
    case 'traceidratio': {
      const ratio = argument.trim() === '' ? Number.NaN : Number(argument);
      if (ratio >= 0 && ratio <= 1) return new TraceIdRatioBasedSampler(ratio);
      const complaint = `OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, not "${argument}"`;
      log.warn({ complaint }, 'all is traced');
      return new AlwaysOnSampler();
    }
    default:
      return undefined;
  }
}

/** Makes ids as the SDK does, but for the trace that was decided on before. */
export class TraceIds implements IdGenerator {
  /** The next trace's; taken once. */
  decided: string | undefined;

  generateTraceId(): string {
    const id = this.decided ?? newId();
    this.decided = undefined;
    return id;
  }

  generateSpanId(): string {
    return newId().slice(0, 16);
  }
}
