import { show } from './show.ts';

/** The environment, as `process.env` is. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A text after its references have been replaced, or why one of them could not be. */
export type Interpolated = { readonly text: string } | { readonly problem: string };

const reference = /\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\})?/g;

/** Whether a text has references, or escapes of them, to replace. */
export function hasReferences(text: string): boolean {
  return text.includes('${');
}

/**
 * Replace `${NAME}` and `${NAME:-default}` by the environment's values; `$${` stands for `${` itself.
 *
 * As in a shell, the default counts for an empty variable too. Values are taken as they are: never read as YAML, and a `${` in
 * one is not replaced. Problems name the variable and never show a value.
 */
export function interpolate(text: string, environment: Environment): Interpolated {
  const problems: string[] = [];
  const replaced = text.replaceAll(reference, (match: string, name?: string, fallback?: string) => {
    if (match === '$${') return '${';
    if (name === undefined) {
      problems.push(
        `has a "\${" that is neither \${NAME} nor \${NAME:-default}; write $\${ for the characters themselves`,
      );
      return '';
    }
    const value = environment[name];
    if (value) return value;
    if (fallback !== undefined) return fallback;
    problems.push(
      `needs the environment variable ${show(name).slice(1, -1)}, which is ${value === '' ? 'empty' : 'not set'}`,
    );
    return '';
  });
  return problems.length === 0 ? { text: replaced } : { problem: [...new Set(problems)].join(', and ') };
}
