// Variables in queries and titles, as Grafana replaces them: `$name`, `${name}`, `${name:sqlstring}`, and those of the time shown.

/**
 * @typedef {object} Scope
 * @property {Record<string, string | string[]>} variables by name
 * @property {number} from milliseconds
 * @property {number} to milliseconds
 * @property {number} interval milliseconds between two points
 * @property {number} scrapeInterval milliseconds
 */

/** @param {string} text @param {Scope} scope @param {'promql' | 'plain'} [kind] how values without a format are written */
export function interpolate(text, scope, kind = 'plain') {
  return text.replace(/\$(\w+)|\$\{(\w+)(?::(\w+))?\}/g, (all, plain, braced, format) => {
    const value = valueOf(plain ?? braced, scope);
    return value === undefined ? all : written(value, format, kind);
  });
}

/** The names of the variables in a text that are not Grafana's own. */
export function variablesIn(text) {
  const names = [...text.matchAll(/\$(\w+)|\$\{(\w+)(?::\w+)?\}/g)].map(([, plain, braced]) => plain ?? braced);
  return names.filter((name) => !name.startsWith('__'));
}

/** @param {string} name @param {Scope} scope */
function valueOf(name, scope) {
  const seconds = (milliseconds) => `${Math.max(1, Math.round(milliseconds / 1000))}s`;
  switch (name) {
    case '__range':
      return seconds(scope.to - scope.from);
    case '__interval':
      return seconds(scope.interval);
    case '__rate_interval':
      return seconds(Math.max(scope.interval + scope.scrapeInterval, 4 * scope.scrapeInterval));
    default:
      return scope.variables[name];
  }
}

function written(value, format, kind) {
  const values = Array.isArray(value) ? value : [value];
  if (format === 'sqlstring') return values.map((each) => `'${each.replaceAll("'", "''")}'`).join(',');
  if (format !== undefined) throw new Error(`the format :${format} of a variable is not known here`);
  if (kind === 'plain') return values.join(' + ');
  // In PromQL several are a regular expression, and one is text between quotes.
  const escaped = values.map((each) => each.replaceAll('\\', '\\\\').replaceAll('"', '\\"'));
  if (!Array.isArray(value)) return escaped[0];
  const patterns = values.map((each) => each.replace(/[\\^$*+?.()|[\]{}]/g, '\\\\$&'));
  return patterns.length === 1 ? patterns[0] : `(${patterns.join('|')})`;
}
