import { type Doors, openDoors } from './doors.ts';
import { type ConfigFile, startGateway } from './gateway.ts';
import { type ScriptedUpstream, startScriptedUpstream } from './scripted-upstream.ts';

/** A gateway in this process with scripted upstreams behind it, and its doors. */
export interface ScriptedGateway {
  readonly gateway: Awaited<ReturnType<typeof startGateway>>;
  readonly doors: Doors;
  /** The first upstream; calls that name no provider go there first. */
  readonly upstream: ScriptedUpstream;
  /** The second one, asked when the first fails. */
  readonly other: ScriptedUpstream;
  close(): Promise<void>;
}

/** A provider of the configuration that asks a scripted upstream. */
export function scriptedProvider(name: string, upstream: ScriptedUpstream): ConfigFile {
  return { name, kind: 'openai_compatible', base_url: upstream.url, api_key: 'k', default_model: 'scripted-model' };
}

/** A gateway in this process over any providers, and its doors. */
export interface GatewayWithDoors {
  readonly gateway: ScriptedGateway['gateway'];
  readonly doors: Doors;
  close(): Promise<void>;
}

/** Start a gateway over these providers, with what else is configured. */
export async function startGatewayOver(
  providers: readonly ConfigFile[],
  more: Record<string, object> = {},
  environment: Record<string, string> = {},
): Promise<GatewayWithDoors> {
  const gateway = await startGateway({ ...(providers.length > 0 && { providers }), ...more }, environment);
  const doors = openDoors(gateway.url);
  return {
    gateway,
    doors,
    async close() {
      await doors.close();
      await gateway.close();
    },
  };
}

let names = 0;

/**
 * A name that nobody has used: `both` with another word. Its breaker is closed and nothing cools down, whatever the calls
 * before it came to.
 */
export function freshName(): string {
  return `both-${names++}`;
}

/**
 * Start a gateway with two scripted upstreams, `first` and `second`, and a route `both` that asks them in this order, as do all
 * the names of `freshName`.
 *
 * Sections of `more` take the place of its own.
 */
export async function startScriptedGateway(more: Record<string, object> = {}): Promise<ScriptedGateway> {
  const upstream = await startScriptedUpstream();
  const other = await startScriptedUpstream();
  const inOrder = (model: string, targets: object[]) => ({ model, strategy: 'failover', targets });
  const { gateway, doors, close } = await startGatewayOver(
    [scriptedProvider('first', upstream), scriptedProvider('second', other)],
    {
      routes: [
        inOrder('both', [
          { provider: 'first', model: 'scripted-model' },
          { provider: 'second', model: 'scripted-model' },
        ]),
        // The name that was asked for is the model.
        inOrder('both-*', [
          { provider: 'first', model: '' },
          { provider: 'second', model: '' },
        ]),
      ],
      routing: { default_strategy: 'failover' },
      retry: { attempts_per_target: 1 },
      ...more,
    },
  );
  return {
    gateway,
    doors,
    upstream,
    other,
    async close() {
      await close();
      await upstream.close();
      await other.close();
    },
  };
}
