import { create } from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import { type ReloadConfigResponse, ReloadConfigResponseSchema } from '../gen/llmgateway/v1/admin_service_pb.ts';
import { changedSections, fixedChanges } from './config/changes.ts';
import { ConfigError, type LoadedConfig, type Problem } from './config.ts';
import { GatewayError } from './errors.ts';

/** What came of a reload. */
export type Reloaded =
  | { readonly applied: true; readonly changed: readonly string[]; readonly notices: readonly string[] }
  | { readonly applied: false; readonly problems: readonly Problem[] };

/** How many reloads there were since the start, whatever asked for them. */
export interface ReloadCounts {
  readonly applied: number;
  readonly refused: number;
}

/** What a reload is made of. */
export interface ReloadParts {
  /** Loads the configuration anew; throws a ConfigError. */
  readonly load: () => LoadedConfig;
  /** The one in use. */
  readonly current: () => LoadedConfig;
  /** Goes over to another, or changes nothing and throws. */
  readonly apply: (loaded: LoadedConfig) => Promise<void>;
  readonly log: Logger;
}

/** Reloads the configuration, one at a time. */
export interface Reload {
  /** `why` is for the log. Never throws. */
  (why: string): Promise<Reloaded>;
  readonly counts: ReloadCounts;
}

/**
 * Make the function that reloads the configuration: what can be used is used, and what cannot changes nothing.
 *
 * A file may have to be read twice by the time it is right, and several may ask at once: each is answered by a look of its own.
 */
export function createReload({ load, current, apply, log }: ReloadParts): Reload {
  const counts = { applied: 0, refused: 0 };
  let last: Promise<unknown> = Promise.resolve();

  const once = async (why: string): Promise<Reloaded> => {
    const reloaded = await attempt();
    counts[reloaded.applied ? 'applied' : 'refused']++;
    if (!reloaded.applied)
      log.error({ why, problems: reloaded.problems }, 'configuration refused: the one before it stays');
    else if (reloaded.changed.length === 0) log.info({ why }, 'configuration unchanged');
    else log.info({ why, changed: reloaded.changed }, 'configuration applied');
    return reloaded;
  };

  const attempt = async (): Promise<Reloaded> => {
    try {
      const before = current();
      const loaded = load();
      const problems = fixedChanges(before.config, loaded.config);
      if (problems.length > 0) return { applied: false, problems };
      const { notices } = loaded;
      const changed = changedSections(before.config, loaded.config);
      if (changed.length > 0) await apply(loaded);
      for (const notice of notices) if (!before.notices.includes(notice)) log.warn(notice);
      return { applied: true, changed, notices };
    } catch (error) {
      if (error instanceof ConfigError) return { applied: false, problems: error.problems };
      const stack = error instanceof Error ? error.stack : String(error);
      log.error({ error: stack }, 'a configuration could not be applied');
      return { applied: false, problems: [{ path: '', message: 'could not be applied: the log says why' }] };
    }
  };

  const reload = (why: string): Promise<Reloaded> => {
    const reloaded = last.then(() => once(why));
    last = reloaded;
    return reloaded;
  };
  return Object.assign(reload, { counts });
}

/** The same for a caller who asks for it: what cannot be used is an error that names every setting. */
export async function reloadFor(reload: Reload, caller: string): Promise<ReloadConfigResponse> {
  const reloaded = await reload(caller);
  if (!reloaded.applied) {
    const violations = reloaded.problems.map(({ path, line, message }) => ({
      field: path,
      description: line === undefined ? message : `line ${line}: ${message}`,
    }));
    const message = `the configuration is refused, and the one before it stays; problems: ${violations.length}`;
    throw new GatewayError('invalid_request', message, { violations });
  }
  const { changed, notices } = reloaded;
  return create(ReloadConfigResponseSchema, {
    changedSections: [...changed],
    notices: [...notices],
    appliedCount: reload.counts.applied,
    refusedCount: reload.counts.refused,
  });
}
