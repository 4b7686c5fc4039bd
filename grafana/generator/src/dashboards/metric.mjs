// Any metric by any dimension: now, in every window, and over time.

import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import { businessAlerts, currencyVariable, dashboard, fromPrometheus, uid, windowVariable, windows } from './common.mjs';
import { band, barGauge, stat, table, timeseries, unit } from './panels.mjs';
import { now, overTime, rows } from './queries.mjs';

const what = 'The gauge chosen above; docs/metrics.md has its definition, and /metrics has it as its HELP.';
/** A gauge's unit follows from its name, so a panel asks three times, and two of the questions have no answer. */
const ratios = '.*_(rate|share|attainment|attainment_by_payments|change|change_of_year|net|gross|close_ratio|elapsed)(_low|_high)?';
const byUnit = [
  [`__name__="$metric",__name__=~"${ratios}"`, '', unit.ratio],
  ['__name__="$metric",__name__=~".*_seconds"', ' / 86400', unit.days],
  [`__name__="$metric",__name__!~"${ratios}|.*_seconds"`, '', unit.count],
];

/** How the transformation heads the column of the rows' names. */
const matrixCorner = 'value\\window';

export function metric() {
  const built = dashboard({
    uid: uid.metric,
    title: 'Metric detail',
    description: 'Any figure of any metric: by the values of a dimension, in every window, and over time as Prometheus kept it.',
    from: 'now-90d',
    refresh: '1m',
    alerts: businessAlerts,
  })
    .withVariable(
      fromPrometheus('metric', 'label_values({__name__=~"dealpulse_.+",window!="",dimension="all"}, __name__)')
        .label('Metric')
        .description('A gauge, dealpulse_<metric>_<figure>')
        .current({ text: 'dealpulse_win_rate_rate', value: 'dealpulse_win_rate_rate', selected: true }),
    )
    .withVariable(windowVariable('28d'))
    .withVariable(
      fromPrometheus('dimension', 'label_values({__name__="$metric",dimension!="all"}, dimension)')
        .label('Dimension')
        .description('What the metric is cut by; some figures have no dimension but the total; serve.gauges = "all" gives groups more of them')
        .current({ text: 'source', value: 'source', selected: true }),
    )
    .withVariable(
      fromPrometheus('value', 'label_values({__name__="$metric",dimension="$dimension"}, value)').label('Value').description('One value of the dimension, for the panel that shows it alone'),
    )
    .withVariable(
      currencyVariable(),
    );
  for (const [title, panels] of [
    ['$metric, $window', present()],
    ['Over time', past()],
  ]) {
    built.withRow(new RowBuilder(title));
    panels.forEach((panel) => built.withPanel(panel));
  }
  return built.build();
}

/** The queries of a panel, one for each unit. @param {string} labels @param {string} by @param {(expr: string) => any} query */
function queries(labels, by, query) {
  return byUnit.map(([name, factor]) => query(`max by (${by}) ({${name},${labels},currency=~"$currency|"})${factor}`));
}

/** Overrides that give each of the queries its unit, however often they are repeated. `count`: how many of the panel's are such. */
function units(builder, count = Infinity) {
  builder.build().targets.slice(0, count).forEach(({ refId }, index) => {
    const id = byUnit[index % byUnit.length][2];
    builder.overrideByQuery(refId, [{ id: 'unit', value: id }]);
  });
  return builder;
}

function present() {
  return [
    units(
      stat({
        title: '$metric of all, by window',
        description: `${what} The total of every window.`,
        unit: unit.count,
        width: 24,
        height: 4,
        queries: windows.flatMap((window) => queries(`dimension="all",value="all",window="${window}"`, 'window', (expr) => now(expr, window))),
      }),
    ),
    units(
      barGauge({
        title: '$metric by $dimension, $window',
        description: `${what} The values of the dimension with most leads and decided deals.`,
        unit: unit.count,
        width: 12,
        height: 12,
        queries: queries('dimension="$dimension",window="$window"', 'value', (expr) => now(`sort_desc(${expr})`, '{{value}}')),
      }),
    ),
    table({
      title: '$metric by $dimension and window, as exported',
      description: `${what} A row for every value, a column for every window; ratios from 0 to 1, durations in seconds.`,
      unit: unit.count,
      width: 12,
      height: 12,
      queries: [rows('max by (value, window) ({__name__="$metric",dimension="$dimension",currency=~"$currency|"})')],
      transformations: [
        { id: 'groupingToMatrix', options: { columnField: 'window', rowField: 'value', valueField: 'Value' } },
        { id: 'organize', options: { indexByName: Object.fromEntries([matrixCorner, ...windows].map((name, index) => [name, index])), renameByName: { [matrixCorner]: 'Value' } } },
      ],
    }),
  ];
}

function past() {
  const bounds = ['low', 'high'].map((bound) => overTime(`max by (window) ({__name__="\${metric}_${bound}",dimension="$dimension",value="$value",window="$window"})`, bound));
  return [
    units(
      timeseries({
        title: '$metric by $dimension, $window, as it was shown',
        description: `${what} As Prometheus kept it.`,
        unit: unit.count,
        width: 12,
        height: 10,
        queries: queries('dimension="$dimension",window="$window"', 'value', (expr) => overTime(expr, '{{value}}')),
      }),
    ),
    units(
      timeseries({
        title: '$metric of $value, $window, as it was shown',
        description: `${what} One value of the dimension. A share of counts has its 95 % interval (Wilson) as a band. As Prometheus kept it.`,
        unit: unit.ratio,
        width: 12,
        height: 10,
        queries: [...queries('dimension="$dimension",value="$value",window="$window"', 'window', (expr) => overTime(expr, 'value')), ...bounds],
        fields: band('value', 'low', 'high'),
      }),
      byUnit.length,
    ),
  ];
}
