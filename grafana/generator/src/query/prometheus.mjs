// Queries to a Prometheus, answered in the frames Grafana makes of them.

import { interpolate } from './interpolate.mjs';

/** @param {string} url @param {string} path @param {Record<string, string | number>} parameters */
export async function ask(url, path, parameters) {
  const response = await fetch(`${url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const answer = await response.json();
  if (answer.status !== 'success') throw new Error(`${answer.error}: ${JSON.stringify(parameters)}`);
  return answer.data;
}

/** The frames of a panel's query. @param {string} url @param {any} target @param {import('./interpolate.mjs').Scope} scope @param {number} tables how many of the panel's queries are tables */
export async function framesOf(url, target, scope, tables) {
  const query = interpolate(target.expr, scope, 'promql');
  const { result } = target.range
    ? await ask(url, 'query_range', { query, start: scope.from / 1000, end: scope.to / 1000, step: scope.interval / 1000 })
    : await ask(url, 'query', { query, time: scope.to / 1000 });
  if (result.length === 0) return [];
  return target.format === 'table' ? [table(target, result, tables)] : result.map((series) => frame(target, series));
}

function frame(target, { metric, values, value }) {
  const { __name__, ...labels } = metric;
  const points = values ?? [value];
  const label = target.legendFormat ? target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => metric[name] ?? '') : undefined;
  return {
    refId: target.refId,
    fields: [
      { name: 'Time', type: 'time', values: points.map(([time]) => time * 1000) },
      { name: 'Value', type: 'number', labels, config: label ? { displayNameFromDS: label } : {}, values: points.map(([, text]) => number(text)) },
    ],
  };
}

function table(target, result, tables) {
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return {
    refId: target.refId,
    fields: [
      { name: 'Time', type: 'time', values: result.map(({ value }) => value[0] * 1000) },
      ...labels.map((label) => ({ name: label, type: 'string', values: result.map(({ metric }) => metric[label] ?? '') })),
      { name: tables > 1 ? `Value #${target.refId}` : 'Value', type: 'number', values: result.map(({ value }) => number(value[1])) },
    ],
  };
}

const number = (text) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text));

/** The values of a variable: `label_values(selector, label)` and `label_values(label)`. */
export async function valuesOf(url, query, scope) {
  const [, selector, label] = /^label_values\((?:(.+),\s*)?(\w+)\)$/.exec(query) ?? [];
  if (!label) throw new Error(`a variable's query that is not known here: ${query}`);
  const parameters = selector ? { 'match[]': interpolate(selector, scope, 'promql') } : {};
  return await ask(url, `label/${label}/values`, parameters);
}
