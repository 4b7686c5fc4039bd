// What all dashboards have in common: how they are named and linked, their variables, and when alerts fired.

import {
  AnnotationQueryBuilder,
  CustomVariableBuilder,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  QueryVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';

import { clickhouse, prometheus } from './queries.mjs';

/** Their uids, by which they are linked and alerts name them. */
export const uid = {
  director: 'dealpulse-director',
  rep: 'dealpulse-rep',
  metric: 'dealpulse-metric',
  pipeline: 'dealpulse-pipeline',
};

/** The names of the alerts, as deploy/prometheus/rules/ has them. */
export const businessAlerts = [
  'CloseRateDropped', 'WinRateDropped', 'UpsellRateDropped', 'CycleLengthened', 'LeadSourceDriedUp', 'ForecastBelowQuota',
];
export const pipelineAlerts = [
  'EventFeedSilent', 'WatermarkStalled', 'DataOld', 'DeadLettersRising', 'FlushFailing', 'RestartLooping', 'InstanceDown',
];

/**
 * @param {object} what
 * @param {string} what.uid
 * @param {string} what.title
 * @param {string} what.description
 * @param {string} what.from the beginning of the time shown
 * @param {string} what.refresh
 * @param {string[]} what.alerts whose firing is marked
 * @param {string} [what.timezone]
 */
export function dashboard({ uid, title, description, from, refresh, alerts, timezone = 'browser' }) {
  return new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags(['dealpulse'])
    .time({ from, to: 'now' })
    .refresh(refresh)
    .timezone(timezone)
    .tooltip(DashboardCursorSync.Crosshair)
    .readonly()
    .link(
      new DashboardLinkBuilder('Dealpulse').type(DashboardLinkType.Dashboards).tags(['dealpulse']).asDropdown(false).includeVars(true).keepTime(true),
    )
    .annotation(
      new AnnotationQueryBuilder()
        .name('Alerts')
        .datasource(prometheus)
        .enable(true)
        .iconColor('red')
        .expr(`max by (alertname, dimension, value, instance) (ALERTS{alertstate="firing",alertname=~"${alerts.join('|')}"})`)
        .step('60s')
        .titleFormat('{{alertname}}')
        .textFormat('{{dimension}} {{value}} {{instance}}'),
    );
}

/** The rolling windows that every metric is shown for. */
export const windows = ['24h', '7d', '28d', '90d', 'qtd'];

/** The rolling window of the gauges. */
export function windowVariable(current) {
  return new CustomVariableBuilder('window')
    .label('Window')
    .description('The rolling window of the live figures; qtd is the fiscal quarter so far')
    .values(windows.join(','))
    .current({ text: current, value: current, selected: true });
}

/** The currency of live figures: the reporting currency first, where there is one. */
export function currencyVariable() {
  return fromPrometheus('currency', 'label_values(dealpulse_sales_results_amount_won, currency)')
    .label('Currency')
    .description('The currency of the live figures. “reporting”: all amounts, each converted at the rate of its day')
    .sort(VariableSort.AlphabeticalDesc);
}

/** Views keep every amount in its own currency: the one chosen, or with “reporting” the one most deals are in. @param {string} [whose] which rows of the view */
export function historyCurrencyVariable(whose = "dimension = ''") {
  return fromClickhouse(
    'history_currency',
    `SELECT currency FROM win_rate_daily WHERE ${whose} AND \${currency:sqlstring} IN (currency, 'reporting') AND currency != ''
     GROUP BY currency ORDER BY sum(won) DESC`,
  )
    .label('Currency of history')
    .description('The currency of figures by day, week and month; these are never converted');
}

export function fromPrometheus(name, query) {
  return new QueryVariableBuilder(name)
    .datasource(prometheus)
    .query({ query, refId: `variable-${name}`, qryType: 1 })
    .definition(query)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc);
}

/** The first column is the value; the second, if there is one, what is shown of it. */
export function fromClickhouse(name, rawSql) {
  const sql = rawSql.replace(/\n\s*/g, '\n');
  return new QueryVariableBuilder(name)
    .datasource(clickhouse)
    .query({ refId: `variable-${name}`, editorType: 'sql', queryType: 'table', format: 1, rawSql: sql })
    .definition(sql)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.Disabled);
}

/** The address of a dashboard with some variables set. @param {keyof typeof uid} which @param {Record<string, string>} variables */
export function address(which, variables = {}) {
  const set = Object.entries(variables).map(([name, value]) => `var-${name}=${value}`);
  return `/d/${uid[which]}?${[...set, '${__url_time_range}'].join('&')}`;
}
