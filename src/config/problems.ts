/** One thing that is wrong with the configuration. */
export interface Problem {
  /** The setting, as `providers[2].base_url`; for an environment variable its name; empty: the file as a whole. */
  readonly path: string;
  /** Where in the file; unset for environment variables. */
  readonly line?: number;
  /** What is wrong, with the value and the bound. Never holds a secret. */
  readonly message: string;
}

/** A configuration that cannot be used: everything that is wrong with it, in the order of the file. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(`the configuration has ${problems.length} problem${problems.length === 1 ? '' : 's'}`);
    this.problems = [...problems].sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity));
  }
}

/** One line for each problem: `gateway.yaml:12: providers[2].base_url: must be …`, or `PORT: must be …` for a variable. */
export function formatProblems({ problems }: ConfigError, file = ''): string {
  return problems
    .map(({ path, line, message }) => {
      const place = line === undefined ? '' : `${file}:${line}`;
      return [place, path, message].filter((piece) => piece !== '').join(': ');
    })
    .join('\n');
}
