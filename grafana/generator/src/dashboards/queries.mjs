// Queries of the two data sources. PromQL takes gauges as they are, SQL adds up the days of a view: no sales logic here.

import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';

export const prometheus = { type: 'prometheus', uid: 'dealpulse-prometheus' };
export const clickhouse = { type: 'grafana-clickhouse-datasource', uid: 'dealpulse-clickhouse' };

/**
 * A business gauge. Every instance shows the same value, so the greatest is anyone's.
 * @param {string} name without `dealpulse_`
 * @param {Record<string, string>} labels beside the window and the total
 */
export function gauge(name, labels = {}) {
  return `max without (instance, job) (${selector(name, labels)})`;
}

/** A gauge of seconds, in days. */
export const inDays = (name, labels = {}) => `${gauge(name, labels)} / 86400`;

/** A gauge by the values of a dimension, all other labels dropped, so that several make one table. */
export function gaugeByValue(name, dimension, labels = {}) {
  return `max by (value) (${selector(name, { dimension, value: undefined, ...labels })})`;
}

/** A selector: a label that is undefined is not asked about. A value that begins with `~` is a regular expression. */
export function selector(name, labels = {}) {
  const all = { window: '$window', dimension: 'all', value: 'all', ...labels };
  const matchers = Object.entries(all)
    .filter(([, value]) => value !== undefined)
    .map(([label, value]) => (value.startsWith('~') ? `${label}=~"${value.slice(1)}"` : `${label}="${value}"`));
  return `dealpulse_${name}{${matchers.join(',')}}`;
}

/** A query of one value, now. */
export function now(expr, legend = '') {
  return promql(expr, legend).instant();
}

/** A query of values over the dashboard's time. */
export function overTime(expr, legend) {
  return promql(expr, legend).range();
}

/** A query of rows, now: a column for every label, and one for the value. */
export function rows(expr) {
  return promql(expr).instant().format(PromQueryFormat.Table);
}

function promql(expr, legend = '') {
  return new DataqueryBuilder().datasource(prometheus).expr(expr).legendFormat(legend);
}

/** The names of the owners, for a join. */
export const names = '(SELECT id, any(name) AS name FROM users FINAL WHERE deleted = 0 GROUP BY id)';

/** Rows of ClickHouse. */
export const sqlRows = (rawSql) => new Sql(rawSql, 'table', 1);
/** Series of ClickHouse: a column of time, at most one of text that tells the series apart, and numbers. */
export const sqlSeries = (rawSql) => new Sql(rawSql, 'timeseries', 0);

/** A query as Grafana's ClickHouse plug-in takes it; the SDK has no builder for it. */
class Sql {
  constructor(rawSql, queryType, format) {
    const text = rawSql.replace(/\n\s*/g, '\n').trim();
    this.query = { refId: '', datasource: clickhouse, editorType: 'sql', queryType, format, rawSql: text };
  }

  refId(refId) {
    this.query.refId = refId;
    return this;
  }

  build() {
    return this.query;
  }
}
