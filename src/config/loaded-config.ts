import type { Config } from '../../gen/llmgateway/v1/config_pb.ts';
import type { NetworkOfEnvironment } from './environment-network.ts';
import type { OllamaMode } from './environment-providers.ts';
import type { TelemetryOfEnvironment } from './environment-telemetry.ts';

/** The configuration as the gateway uses it. */
export interface LoadedConfig {
  /** Every default filled in but those that depend on the call (`timeouts.first_token`, `breaker.slow_call`); frozen. */
  readonly config: Config;
  /** SHA-256 of GATEWAY_ADMIN_KEY. It does not close the open mode: it is none of `config.keys`. */
  readonly adminKeySha256?: string;
  /**
   * `configured`: the file or a variable asks for it. `detect`: nobody does, and it is used only when it answers. In both cases
   * it is among `config.providers`, under the name `ollama`.
   */
  readonly ollama: OllamaMode;
  /** How the outside is reached. */
  readonly network: NetworkOfEnvironment;
  /** Who is told of calls, beside the log. */
  readonly telemetry: TelemetryOfEnvironment;
  /** One line for each setting that was given and is not in effect yet. */
  readonly notices: readonly string[];
}
