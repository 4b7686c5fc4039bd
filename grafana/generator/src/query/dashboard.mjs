// A whole dashboard with its data: the variables are given values, and every panel's queries are sent to the real engines.

import * as clickhouse from './clickhouse.mjs';
import { interpolate } from './interpolate.mjs';
import * as prometheus from './prometheus.mjs';

/**
 * @typedef {object} Engines
 * @property {string} prometheus its URL
 * @property {{url: string, database: string}} clickhouse
 * @property {number} scrapeInterval milliseconds
 * @property {number} now milliseconds: the dashboards' time ends here
 */

/**
 * @param {any} dashboard
 * @param {Engines} engines
 * @param {{ from?: string, variables?: Record<string, string> }} [options] other values than the dashboard's own
 */
export async function withData(dashboard, engines, options = {}) {
  const from = engines.now - duration(options.from ?? dashboard.time.from);
  const scope = { variables: {}, from, to: engines.now, interval: 0, scrapeInterval: engines.scrapeInterval };
  for (const variable of dashboard.templating.list) {
    scope.variables[variable.name] = options.variables?.[variable.name] ?? (await firstValue(variable, engines, scope));
  }
  const panels = [];
  for (const panel of dashboard.panels.filter(({ type }) => type !== 'row')) {
    const answers = await answersOf(panel, engines, scope);
    panels.push({ ...panel, title: interpolate(panel.title, scope), answers, frames: answers.flat() });
  }
  const rows = dashboard.panels.filter(({ type }) => type === 'row').map((row) => ({ ...row, title: interpolate(row.title, scope) }));
  return { scope, panels, rows };
}

/** The frames of each of a panel's queries. */
async function answersOf(panel, engines, scope) {
  const tables = panel.targets.filter((target) => target.format === 'table').length;
  // As many points as a panel of this width has room for, as Grafana asks; PromQL is never asked more often than scraped.
  const interval = Math.max(Math.ceil((scope.to - scope.from) / (panel.gridPos.w * 40) / 1000) * 1000, engines.scrapeInterval);
  const own = { ...scope, interval };
  const answers = [];
  for (const target of panel.targets) {
    answers.push(
      target.datasource.type === 'prometheus'
        ? await prometheus.framesOf(engines.prometheus, target, own, tables)
        : await clickhouse.framesOf(engines.clickhouse, target, own),
    );
  }
  return answers;
}

async function firstValue(variable, engines, scope) {
  if (variable.type === 'custom' || variable.current?.value !== undefined) return variable.current.value;
  const query = variable.query;
  const values =
    variable.datasource.type === 'prometheus'
      ? await prometheus.valuesOf(engines.prometheus, query.query, scope)
      : await clickhouse.valuesOf(engines.clickhouse, query.rawSql, scope);
  const sorted = variable.sort === 2 ? [...values].sort().reverse() : variable.sort === 1 ? [...values].sort() : values;
  const matching = variable.regex ? sorted.filter((value) => new RegExp(variable.regex.slice(1, -1)).test(value)) : sorted;
  if (matching.length === 0) throw new Error(`the variable ${variable.name} has no values`);
  return variable.multi ? matching : matching[0];
}

/** Milliseconds of `now-90d` and the like. */
function duration(text) {
  const [, count, unit] = /^now-(\d+)([smhd])$/.exec(text) ?? [];
  if (!unit) throw new Error(`a time that is not known here: ${text}`);
  return Number(count) * { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 }[unit];
}
