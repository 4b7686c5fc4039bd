// One owner's dashboard: closed deals, forecast, races, activities, contacts, and the way from lead to won deal.

import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import { businessAlerts, currencyVariable, dashboard, fromClickhouse, historyCurrencyVariable, uid, windowVariable } from './common.mjs';
import { quote } from './definitions.mjs';
import { band, bar, barGauge, colour, stat, table, timeseries, unit } from './panels.mjs';
import { gauge, inDays, names, now, overTime, sqlRows, sqlSeries } from './queries.mjs';
import { againstQuota, averageWonDeal, changeOfAmountWon, forecastByCategory } from './shared.mjs';

const own = { dimension: 'owner', value: '$owner' };
const ownMoney = { ...own, currency: '$currency' };
const isOwn = `dimension = 'owner' AND value[1] = \${owner:sqlstring}`;
const inCurrency = `currency = \${history_currency:sqlstring}`;

export function rep() {
  const built = dashboard({
    uid: uid.rep,
    title: 'Sales rep',
    description: 'What one owner sold, has open and does. Live figures are there for the owners that the gauges show (serve.top in the configuration); history is there for all.',
    from: 'now-180d',
    refresh: '1m',
    alerts: businessAlerts,
    timezone: 'utc',
  })
    .withVariable(
      fromClickhouse(
        'owner',
        // The first is one the gauges show: these are the owners with most leads and decided deals of the last 90 days.
        `SELECT id, concat(any(users.name), ' (', id, ')') AS shown
         FROM (SELECT value[1] AS id, day, won + lost AS records FROM win_rate_daily WHERE dimension = 'owner'
           UNION ALL SELECT value[1] AS id, day, leads AS records FROM close_rate_cohort WHERE dimension = 'owner') AS owners
         LEFT JOIN ${names} AS users ON users.id = owners.id
         WHERE id != '' GROUP BY owners.id AS id ORDER BY sumIf(records, day > today() - 90) DESC, id`,
      )
        .label('Owner')
        .description('Those with most leads and decided deals of the last 90 days first'),
    )
    .withVariable(windowVariable('90d'))
    .withVariable(currencyVariable())
    .withVariable(historyCurrencyVariable(isOwn));
  for (const [title, panels] of [
    ['Closed deals', closed()],
    ['Forecast', forecast()],
    ['Races and activities', activities()],
    ['Contacts and own funnel', funnel()],
  ]) {
    built.withRow(new RowBuilder(title));
    panels.forEach((panel) => built.withPanel(panel));
  }
  return built.build();
}

function closed() {
  return [
    stat({
      title: 'Won in $window, deals of the owner',
      description: quote('sales_results', 'Deals won, by the time they closed'),
      unit: unit.count,
      width: 6,
      height: 4,
      queries: [now(gauge('sales_results_won', own), 'won'), now(gauge('sales_results_previous', own), 'before'), now(gauge('sales_results_year_before', own), 'a year ago')],
    }),
    stat({
      title: 'Won in $window, amount ($currency)',
      description: `${quote('sales_results', 'Deals won, by the time they closed, and their amounts')} ${quote('sales_results', 'Previous: as many days before the window; of a month or a quarter so far, as many days of the one before')}`,
      unit: unit.shortMoney,
      width: 6,
      height: 4,
      queries: [now(gauge('sales_results_amount_won', ownMoney), 'won'), now(gauge('sales_results_amount_previous', ownMoney), 'before')],
    }),
    changeOfAmountWon(own, { width: 4, height: 4 }),
    averageWonDeal(own, { width: 4, height: 4 }),
    stat({
      title: 'Cycle of won deals, median',
      description: quote('cycle_length', 'closed_at − created_at of deals, by the time they closed: mean, median and 90th percentile'),
      unit: unit.days,
      decimals: 1,
      width: 4,
      height: 4,
      queries: [now(inDays('cycle_length_won_median_seconds', own))],
    }),
    timeseries({
      title: 'Deals closed a week',
      description: `${quote('win_rate', 'Won deals ÷ (won + lost deals), both by the time they closed')} Here both, counted by week; the newest week is not over.`,
      unit: unit.count,
      decimals: 0,
      width: 10,
      height: 8,
      bars: true,
      stacked: true,
      min: 0,
      queries: [
        sqlSeries(`SELECT toMonday(day) AS week, sum(won) AS won, sum(lost) AS lost FROM win_rate_daily
          WHERE ${isOwn} AND $__dateFilter(day) GROUP BY week ORDER BY week`),
      ],
      fields: [
        ['won', { color: { mode: 'fixed', fixedColor: colour.good } }],
        ['lost', { color: { mode: 'fixed', fixedColor: colour.faint } }],
      ],
    }),
    timeseries({
      title: 'Win rate, $window, as it was shown',
      description: `${quote('win_rate', 'Won deals ÷ (won + lost deals), both by the time they closed')} The band is its 95 % interval (Wilson): one owner decides few deals, so it is wide. As Prometheus kept it.`,
      unit: unit.ratio,
      width: 8,
      height: 8,
      queries: [overTime(gauge('win_rate_rate', own), 'rate'), overTime(gauge('win_rate_rate_low', own), 'low'), overTime(gauge('win_rate_rate_high', own), 'high')],
      fields: band('rate', 'low', 'high'),
    }),
    againstQuota(own, { width: 6, height: 8 }),
  ];
}

function forecast() {
  return [
    forecastByCategory(own, { width: 10, height: 7 }),
    table({
      title: 'Open deals by the month they are expected in ($history_currency)',
      description: `${quote('forecast', 'Deals open now, by the day they are expected to close')} The present month and the eleven after it.`,
      unit: unit.money,
      decimals: 0,
      width: 10,
      height: 7,
      queries: [
        sqlRows(`SELECT formatDateTime(toStartOfMonth(expected_close), '%Y-%m') AS "Month", sum(commit_deals + best_case_deals + pipeline_deals) AS "Deals",
            sum(pipeline_cumulative) AS "Open", sum(weighted) AS "Weighted"
          FROM forecast WHERE ${isOwn} AND ${inCurrency}
            AND expected_close >= toStartOfMonth(today()) AND expected_close < addMonths(toStartOfMonth(today()), 12)
          GROUP BY "Month" ORDER BY "Month"`),
      ],
      fields: [['Weighted', bar], ['Month', { unit: unit.text, 'custom.width': 90 }], ['Deals', { unit: unit.count, 'custom.width': 80 }]],
    }),
    stat({
      title: 'Open deals that need a look',
      description: `${quote('forecast', 'Overdue: expected before today')} Undated: without an expected day.`,
      unit: unit.count,
      width: 4,
      height: 7,
      queries: [now(gauge('forecast_overdue_deals', { ...own, window: 'qtd' }), 'overdue'), now(gauge('forecast_undated', { ...own, window: 'qtd' }), 'undated')],
    }),
  ];
}

function activities() {
  return [
    timeseries({
      title: 'Activities done a week, by kind',
      description: `${quote('activities', 'Activities done, by the time they were done: all, and by kind; those that state no kind are other')} The newest week is not over.`,
      unit: unit.count,
      decimals: 0,
      width: 10,
      height: 8,
      bars: true,
      stacked: true,
      min: 0,
      queries: [
        sqlSeries(`SELECT toMonday(day) AS week, sum(call) AS calls, sum(email) AS emails, sum(meeting) AS meetings, sum(demo) AS demos, sum(task) AS tasks, sum(note) AS notes, sum(other) AS other
          FROM activities_daily WHERE ${isOwn} AND $__dateFilter(day) GROUP BY week ORDER BY week`),
      ],
    }),
    table({
      title: 'Activity race of the last full week, all owners',
      description: `${quote('activities', 'Activities done, by the time they were done: all, and by kind; those that state no kind are other')} Owners ranked by what they did from Monday to Sunday; of equals the first by name is ahead.`,
      unit: unit.count,
      width: 7,
      height: 8,
      queries: [
        sqlRows(`SELECT rank AS "Rank", owner AS "Owner", any(users.name) AS "Name", sum(done) AS "Done"
          FROM activity_race LEFT JOIN ${names} AS users ON users.id = owner
          WHERE period = 'week' AND start = (SELECT max(start) FROM activity_race WHERE period = 'week' AND start < toMonday($__toTime))
          GROUP BY rank, owner ORDER BY rank`),
      ],
      fields: [['Rank', { unit: unit.rank, 'custom.width': 60 }], ['Owner', { unit: unit.text, 'custom.width': 80 }], ['Name', { unit: unit.text }], ['Done', bar]],
    }),
    table({
      title: 'Own rank in the sales race by month ($history_currency)',
      description: `${quote('sales_results', 'Deals won, by the time they closed, and their amounts')} The rank among the owners that won anything in the month, by amount.`,
      unit: unit.money,
      decimals: 0,
      width: 7,
      height: 8,
      queries: [
        sqlRows(`SELECT formatDateTime(start, '%Y-%m') AS "Month", rank AS "Rank", won AS "Won deals", won_amount AS "Won amount"
          FROM sales_race WHERE period = 'month' AND owner = \${owner:sqlstring} AND ${inCurrency} ORDER BY start DESC LIMIT 24`),
      ],
      fields: [
        ['Month', { unit: unit.text, 'custom.width': 80 }],
        ['Rank', { unit: unit.rank, 'custom.width': 60 }],
        ['Won deals', { unit: unit.count, 'custom.width': 90 }],
        ['Won amount', bar],
      ],
    }),
  ];
}

function funnel() {
  return [
    stat({
      title: 'Activities planned',
      description: quote('activities', 'Planned are those that are not done: overdue if the day they are due is before today, due if it is today or later, undated if they state no such day'),
      unit: unit.count,
      width: 4,
      height: 8,
      queries: [now(gauge('activities_overdue', own), 'overdue'), now(gauge('activities_due', own), 'due'), now(gauge('activities_undated', own), 'undated')],
    }),
    stat({
      title: 'Contacts touched in $window, and left alone',
      description: `${quote('touches', 'Touched are those whose latest activity lies in the window')} ${quote('touches', 'Untouched for N days are those whose latest activity lies before the last N days of the window, and those with none at all')}`,
      unit: unit.count,
      width: 6,
      height: 8,
      queries: [
        now(gauge('touches_contacts', own), 'contacts'),
        now(gauge('touches_touched', own), 'touched'),
        now(gauge('touches_untouched_30', own), 'not for 30 days'),
        now(gauge('touches_untouched_90', own), 'not for 90 days'),
      ],
    }),
    timeseries({
      title: 'New contacts a week',
      description: `${quote('contacts', 'New contacts, by the time they were created')} The newest week is not over.`,
      unit: unit.count,
      decimals: 0,
      width: 7,
      height: 8,
      bars: true,
      min: 0,
      queries: [
        sqlSeries(`SELECT toMonday(day) AS week, sum(new) AS contacts FROM contacts_daily
          WHERE ${isOwn} AND $__dateFilter(day) GROUP BY week ORDER BY week`),
      ],
      fields: [['contacts', { color: { mode: 'fixed', fixedColor: colour.plain } }]],
    }),
    barGauge({
      title: 'Own leads created in $window, and what became of them',
      description: quote('lead_source', 'how many, their share of all leads, how many qualified, converted and were won (at least one credited deal won)'),
      unit: unit.count,
      width: 7,
      height: 8,
      queries: ['leads', 'qualified', 'converted', 'won'].map((figure) => now(gauge(`lead_source_${figure}`, own), figure)),
    }),
  ];
}
