// Queries to a ClickHouse, its plug-in's macros expanded, answered in the frames Grafana makes of them.

import { interpolate } from './interpolate.mjs';

/** @param {string} url @param {string} database @param {string} sql without FORMAT */
export async function ask(url, database, sql) {
  const settings = { database, output_format_json_quote_64bit_integers: '0', output_format_json_quote_decimals: '0' };
  const response = await fetch(`${url}/?${new URLSearchParams(settings)}`, { method: 'POST', body: `${sql}\nFORMAT JSON` });
  const text = await response.text();
  if (!response.ok) throw new Error(`${text}\n${sql}`);
  const { meta, data } = JSON.parse(text);
  return meta.map(({ name, type }) => ({ name, ...read(type, data.map((row) => row[name])) }));
}

/** Runs a statement that answers nothing. */
export async function execute(url, database, sql) {
  const response = await fetch(`${url}/?${new URLSearchParams({ database })}`, { method: 'POST', body: sql });
  if (!response.ok) throw new Error(`${await response.text()}\n${sql}`);
}

/** The text that is sent: variables, then macros. @param {string} sql @param {import('./interpolate.mjs').Scope} scope */
export function expanded(sql, scope) {
  const date = (milliseconds) => `toDate('${new Date(milliseconds).toISOString().slice(0, 10)}')`;
  const instant = (milliseconds) => `toDateTime(${Math.floor(milliseconds / 1000)})`;
  return interpolate(sql, scope)
    .replace(/\$__dateFilter\(([^()]+)\)/g, (_, column) => `${column} >= ${date(scope.from)} AND ${column} <= ${date(scope.to)}`)
    .replaceAll('$__toTime', instant(scope.to))
    .replace(/\$__timeFilter\(([^()]+)\)/g, (_, column) => `${column} >= ${instant(scope.from)} AND ${column} <= ${instant(scope.to)}`);
}

/** The frames of a panel's query. @param {{url: string, database: string}} where @param {any} target @param {import('./interpolate.mjs').Scope} scope */
export async function framesOf(where, target, scope) {
  const fields = await ask(where.url, where.database, expanded(target.rawSql, scope));
  if (fields[0].values.length === 0) return [];
  return [{ refId: target.refId, fields: target.queryType === 'timeseries' ? wide(fields) : fields }];
}

/** The values of a variable, and what is shown of them. */
export async function valuesOf(where, sql, scope) {
  const [ids] = await ask(where.url, where.database, expanded(sql, scope));
  return ids.values;
}

function read(type, values) {
  const plain = type.replace(/^(?:LowCardinality|Nullable)\((.*)\)$/, '$1').replace(/^Nullable\((.*)\)$/, '$1');
  if (/^Date/.test(plain)) {
    const milliseconds = (text) => (text === null ? null : Date.parse(`${text.replace(' ', 'T')}${text.length > 10 ? 'Z' : ''}`));
    return { type: 'time', values: values.map(milliseconds) };
  }
  if (/^(U?Int|Float|Decimal)/.test(plain)) return { type: 'number', values: values.map((value) => (value === null ? null : Number(value))) };
  return { type: 'string', values: values.map(String) };
}

/** Rows with a column of text become a field for each of its values, as the plug-in does. */
function wide(fields) {
  const time = fields.find((field) => field.type === 'time');
  const names = fields.filter((field) => field.type === 'string');
  const numbers = fields.filter((field) => field.type === 'number');
  if (names.length === 0) return fields;
  const times = [...new Set(time.values)];
  const made = new Map();
  time.values.forEach((at, row) => {
    const labels = Object.fromEntries(names.map(({ name, values }) => [name, values[row]]));
    for (const { name, values } of numbers) {
      const key = JSON.stringify([name, labels]);
      if (!made.has(key)) made.set(key, { name, type: 'number', labels, values: Array(times.length).fill(null) });
      made.get(key).values[times.indexOf(at)] = values[row];
    }
  });
  return [{ ...time, values: times }, ...made.values()];
}
