// The sales director's dashboard: what was sold against quota and before, how well, where from, what is still to come, and by whom.

import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import { address, businessAlerts, currencyVariable, dashboard, historyCurrencyVariable, uid, windowVariable } from './common.mjs';
import { quote } from './definitions.mjs';
import { band, bar, barGauge, colour, coloured, joined, link, stat, table, timeseries, unit } from './panels.mjs';
import { gauge, gaugeByValue, inDays, names, now, overTime, rows, selector, sqlRows, sqlSeries } from './queries.mjs';
import { againstQuota, averageWonDeal, changeOfAmountWon, forecastByCategory } from './shared.mjs';
import { stages } from './stages.mjs';
import { watched } from './watched.mjs';

const money = { currency: '$currency' };
const quarter = { window: 'qtd' };
const interval = 'Low and high bound the 95 % interval (Wilson): the fewer records, the wider.';
/** Columns of a rate's table: the rate, its bounds and the counts behind it; what is left is for the name. */
const rateColumns = (...counts) => [
  ['Rate', { unit: unit.ratio, decimals: 1, ...bar, max: 1, 'custom.width': 100 }],
  ['Low', { unit: unit.ratio, decimals: 1, 'custom.width': 60 }],
  ['High', { unit: unit.ratio, decimals: 1, 'custom.width': 60 }],
  ...counts.map((name) => [name, { 'custom.width': 60 }]),
];
/** How much of the quota is expected: the alert ForecastBelowQuota begins below 90 %. */
const expectedSteps = [[null, colour.bad], [0.9, colour.attention], [1, colour.good]];
/** The surer, the darker. */
const forecastColours = [
  ['commit', { color: { mode: 'fixed', fixedColor: 'dark-blue' } }],
  ['best case', { color: { mode: 'fixed', fixedColor: 'blue' } }],
  ['pipeline', { color: { mode: 'fixed', fixedColor: 'light-blue' } }],
];
const ownerColumn = { unit: unit.text, 'custom.width': 80, links: [link('This owner', address('rep', { owner: '${__value.text}' }))] };
const byMetric = (name, dimension) => [
  link('By window and over time', address('metric', { metric: `dealpulse_${name}`, dimension, value: '${__value.text}' })),
];

export function director() {
  const built = dashboard({
    uid: uid.director,
    title: 'Sales director',
    description: 'Results against quota and the time before, rates with their certainty, lead sources, forecast, the sales race, contacts, customer values and cycle length.',
    from: 'now-180d',
    refresh: '1m',
    alerts: businessAlerts,
    // The views have days of the organisation, and a day is drawn at its midnight.
    timezone: 'utc',
  })
    .withVariable(windowVariable('28d'))
    .withVariable(currencyVariable())
    .withVariable(historyCurrencyVariable());
  for (const [title, panels] of [
    ['Results', results()],
    ['How well: rates and how sure they are', rates()],
    ['Watched numbers: has one changed for the worse?', watched()],
    ['Where from: lead sources', sources()],
    ['What is to come: forecast', forecast()],
    ['Who: sales race and quota', people()],
    ['Customers and contacts', customers()],
    ['How long: cycle length, and why deals are lost', cycle()],
    ['How far: the stages', stages()],
  ]) {
    built.withRow(new RowBuilder(title));
    panels.forEach((panel) => built.withPanel(panel));
  }
  return built.build();
}

function results() {
  return [
    stat({
      title: 'Won in $window, amount ($currency)',
      description: `${quote('sales_results', 'Deals won, by the time they closed, and their amounts')} ${quote('sales_results', 'Previous: as many days before the window; of a month or a quarter so far, as many days of the one before')}`,
      unit: unit.shortMoney,
      width: 6,
      height: 4,
      queries: [
        now(gauge('sales_results_amount_won', money), 'won'),
        now(gauge('sales_results_amount_previous', money), 'before'),
        now(gauge('sales_results_amount_year_before', money), 'a year ago'),
      ],
    }),
    changeOfAmountWon({}, { width: 5, height: 4 }),
    stat({
      title: 'Won in $window, deals',
      description: quote('sales_results', 'Deals won, by the time they closed'),
      unit: unit.count,
      width: 5,
      height: 4,
      queries: [now(gauge('sales_results_won'), 'won'), now(gauge('sales_results_previous'), 'before'), now(gauge('sales_results_year_before'), 'a year ago')],
    }),
    averageWonDeal({}, { width: 4, height: 4 }),
    stat({
      title: 'Velocity a day ($currency)',
      description: quote('velocity', 'Sales velocity, money a day: deals open now (omitted ones left out) × win rate by count × average size of won deals ÷ mean cycle length of won deals in days'),
      unit: unit.shortMoney,
      width: 4,
      height: 4,
      queries: [now(gauge('velocity_amount_velocity', money))],
    }),
    againstQuota({}, { width: 8, height: 7 }),
    stat({
      title: 'Quota attained, this fiscal quarter',
      description: `${quote('quota', 'Won amounts ÷ quota, both of a whole period')} ${quote('quota', 'By payments: what was paid on invoices in the period, refunds taken off ÷ quota')} ${quote('quota', 'Expected: won, and these open amounts weighted by their probability')} ${quote('quota', 'Elapsed: days over (today included) ÷ days of the period')} Red where less than 90 % is expected.`,
      unit: unit.ratio,
      decimals: 1,
      width: 5,
      height: 7,
      queries: [
        now(gauge('quota_amount_attainment', { ...quarter, ...money }), 'won'),
        now(gauge('quota_amount_expected_attainment', { ...quarter, ...money }), 'expected'),
        now(gauge('quota_amount_attainment_by_payments', { ...quarter, ...money }), 'paid'),
        now(gauge('quota_elapsed', quarter), 'elapsed'),
      ],
      fields: [['expected', coloured(expectedSteps)]],
    }),
    stat({
      title: 'Coverage of the rest',
      description: `${quote('quota', 'Coverage: open amounts expected from today to the period\'s end, omitted ones left out ÷ remaining.')} Below 1 the quota can't be reached with what is open now; 3 is a usual aim.`,
      unit: 'none',
      decimals: 1,
      thresholds: [[null, colour.bad], [1, colour.attention], [3, colour.good]],
      width: 3,
      height: 7,
      queries: [now(gauge('quota_amount_coverage', { ...quarter, ...money }))],
    }),
    timeseries({
      title: 'Amount won a week ($history_currency)',
      description: `${quote('sales_results', 'Deals won, by the time they closed, and their amounts')} The newest week is not over.`,
      unit: unit.shortMoney,
      width: 8,
      height: 7,
      bars: true,
      min: 0,
      queries: [
        sqlSeries(`SELECT toMonday(day) AS week, sum(won_amount) AS won FROM win_rate_daily
          WHERE dimension = '' AND currency = \${history_currency:sqlstring} AND $__dateFilter(day) GROUP BY week ORDER BY week`),
      ],
      fields: [['won', { color: { mode: 'fixed', fixedColor: colour.good } }]],
    }),
  ];
}

function rates() {
  const overTimeWithBand = (name, labels = {}) => [
    overTime(gauge(name, labels), 'rate'),
    overTime(gauge(`${name}_low`, labels), 'low'),
    overTime(gauge(`${name}_high`, labels), 'high'),
  ];
  const byValue = (rate, dimension, counts, labels = {}) => ({
    queries: [rate, `${rate}_low`, `${rate}_high`, ...counts.map(([name]) => name)].map((name) => rows(gaugeByValue(name, dimension, labels))),
    transformations: joined(['value'], [dimension === 'source' ? 'Source' : 'Team'], ['Rate', 'Low', 'High', ...counts.map(([, title]) => title)]),
  });
  return [
    timeseries({
      title: 'Win rate, $window, as it was shown',
      description: `${quote('win_rate', 'Won deals ÷ (won + lost deals), both by the time they closed')} The band is its 95 % interval (Wilson). As Prometheus kept it.`,
      unit: unit.ratio,
      width: 8,
      height: 8,
      queries: overTimeWithBand('win_rate_rate'),
      fields: band('rate', 'low', 'high'),
    }),
    table({
      title: 'Win rate by source, $window',
      description: `${quote('win_rate', 'Won deals ÷ (won + lost deals), both by the time they closed')} ${interval}`,
      unit: unit.count,
      width: 8,
      height: 8,
      sort: ['Rate', true],
      ...byValue('win_rate_rate', 'source', [['win_rate_won', 'Won'], ['win_rate_lost', 'Lost']]),
      fields: [...rateColumns('Won', 'Lost'), ['Source', { links: byMetric('win_rate_rate', 'source') }]],
    }),
    table({
      title: 'Win rate by team, $window',
      description: `${quote('win_rate', 'Won deals ÷ (won + lost deals), both by the time they closed')} ${interval}`,
      unit: unit.count,
      width: 8,
      height: 8,
      sort: ['Rate', true],
      ...byValue('win_rate_rate', 'team', [['win_rate_won', 'Won'], ['win_rate_lost', 'Lost']]),
      fields: [...rateColumns('Won', 'Lost'), ['Team', { links: byMetric('win_rate_rate', 'team') }]],
    }),
    timeseries({
      title: 'Close rate within 30 days, matured leads of $window, as it was shown',
      description: `${quote('close_rate', '"Within N days" counts leads first won at most N × 24 h after their creation, of matured cohorts only')} Shown is their share of these leads, and as a band its 95 % interval (Wilson). As Prometheus kept it.`,
      unit: unit.ratio,
      width: 8,
      height: 8,
      queries: overTimeWithBand('close_rate_within_30d_rate'),
      fields: band('rate', 'low', 'high'),
    }),
    table({
      title: 'Close rate within 30 days by source, matured leads of $window',
      description: `${quote('close_rate', '"Within N days" counts leads first won at most N × 24 h after their creation, of matured cohorts only')} ${interval}`,
      unit: unit.count,
      width: 8,
      height: 8,
      sort: ['Rate', true],
      ...byValue('close_rate_within_30d_rate', 'source', [['close_rate_within_30d_won', 'Won'], ['close_rate_within_30d_leads', 'Leads'], ['close_rate_within_90d_rate', 'In 90 days']]),
      fields: [...rateColumns('Won', 'Leads'), ['In 90 days', { unit: unit.ratio, decimals: 1, 'custom.width': 84 }], ['Source', { links: byMetric('close_rate_within_30d_rate', 'source') }]],
    }),
    table({
      title: 'Upsell rate by team, $window',
      description: `${quote('upsell', 'Won deals that expand an existing customer (upsell + cross-sell) ÷ won deals')} ${interval}`,
      unit: unit.count,
      width: 8,
      height: 8,
      sort: ['Rate', true],
      ...byValue('upsell_rate', 'team', [['upsell_upsell', 'Upsell'], ['upsell_cross_sell', 'Cross'], ['upsell_won', 'Won']]),
      fields: [...rateColumns('Upsell', 'Cross', 'Won'), ['Team', { links: byMetric('upsell_rate', 'team') }]],
    }),
  ];
}

function sources() {
  return [
    timeseries({
      title: 'Leads created a week, by source',
      description: `${quote('lead_source', 'Leads by source, in the pane they were created in')} The newest week is not over.`,
      unit: unit.count,
      width: 10,
      height: 9,
      bars: true,
      stacked: true,
      min: 0,
      name: '${__field.labels.source}',
      queries: [
        sqlSeries(`SELECT toMonday(day) AS week, if(source = '', '(none)', source) AS source, sum(leads) AS leads FROM lead_source_daily
          WHERE currency = '' AND $__dateFilter(day) GROUP BY week, source ORDER BY week, source`),
      ],
    }),
    table({
      title: 'Lead sources by volume and quality, leads created in $window',
      description: `${quote('lead_source', 'how many, their share of all leads, how many qualified, converted and were won (at least one credited deal won), and the amounts won with them')} The last two are of matured leads, won within 90 days, and of all deals closed in the window, in the currency of history.`,
      unit: unit.count,
      width: 14,
      height: 9,
      sort: ['Leads', true],
      queries: [
        ...['leads', 'share', 'qualified', 'converted', 'won'].map((figure) => rows(gaugeByValue(`lead_source_${figure}`, 'source'))),
        rows(gaugeByValue('close_rate_within_90d_rate', 'source')),
        rows(gaugeByValue('lead_source_by_close_revenue', 'source', { currency: '$history_currency' })),
      ],
      transformations: joined(['value'], ['Source'], ['Leads', 'Share', 'Qualified', 'Converted', 'Won', 'Won in 90 days', 'Revenue won']),
      fields: [
        ['Share', { unit: unit.ratio, decimals: 1, ...bar, max: 1 }],
        ['Won in 90 days', { unit: unit.ratio, decimals: 1 }],
        ['Revenue won', { unit: unit.shortMoney, 'custom.width': 130 }],
        ['Source', { links: byMetric('lead_source_leads', 'source') }],
      ],
    }),
  ];
}

function forecast() {
  return [
    forecastByCategory({}, { width: 8, height: 8 }),
    table({
      title: 'Open deals by the month they are expected in ($history_currency)',
      description: `${quote('forecast', 'Deals open now, by the day they are expected to close')} The present month and the eleven after it.`,
      unit: unit.money,
      decimals: 0,
      width: 12,
      height: 8,
      queries: [
        sqlRows(`SELECT formatDateTime(toStartOfMonth(expected_close), '%Y-%m') AS "Month", sum(commit_deals + best_case_deals + pipeline_deals) AS "Deals",
            sum(commit) AS "Commit", sum(best_case) AS "Best case", sum(pipeline) AS "Pipeline", sum(weighted) AS "Weighted"
          FROM forecast WHERE dimension = '' AND currency = \${history_currency:sqlstring}
            AND expected_close >= toStartOfMonth(today()) AND expected_close < addMonths(toStartOfMonth(today()), 12)
          GROUP BY "Month" ORDER BY "Month"`),
      ],
      fields: [['Weighted', bar], ['Month', { unit: unit.text, 'custom.width': 90 }], ['Deals', { unit: unit.count, 'custom.width': 80 }]],
    }),
    stat({
      title: 'Open deals that need a look',
      description: `${quote('forecast', 'Overdue: expected before today')} Undated: without an expected day. Without probability: in no weighted amount. ${quote('forecast', 'omitted deals are in none of these figures but their own')}`,
      unit: unit.count,
      width: 4,
      height: 8,
      queries: [
        now(gauge('forecast_overdue_deals', quarter), 'overdue'),
        now(gauge('forecast_undated', quarter), 'undated'),
        now(gauge('forecast_without_probability', quarter), 'without probability'),
        now(gauge('forecast_omitted_deals', quarter), 'omitted'),
      ],
    }),
    timeseries({
      title: 'The forecast as it was known each day, open amounts by category ($history_currency)',
      description: `${quote('forecast', 'Categories: commit, best case and pipeline, each alone and with the surer ones (cumulative)')} Of every day the state at its end, as the organisation then knew it; later corrections do not change it.`,
      unit: unit.shortMoney,
      width: 12,
      height: 8,
      stacked: true,
      min: 0,
      queries: [
        sqlSeries(`SELECT day, sum(forecast_daily.commit) AS commit, sum(forecast_daily.best_case) AS "best case", sum(forecast_daily.pipeline) AS pipeline FROM forecast_daily
          WHERE dimension = '' AND currency = \${history_currency:sqlstring} AND $__dateFilter(day) GROUP BY day ORDER BY day`),
      ],
      fields: forecastColours,
    }),
    table({
      title: 'Against quota by team and the units above, this fiscal quarter ($currency)',
      description: `${quote('quota', 'Won amounts ÷ quota, both of a whole period')} ${quote('quota', 'Expected: won, and these open amounts weighted by their probability')} A unit has the numbers of all teams below it, so units do not add up.`,
      unit: unit.money,
      decimals: 0,
      width: 12,
      height: 8,
      sort: ['Won', true],
      queries: ['target', 'booked', 'attainment', 'expected_attainment', 'open'].map((figure) => rows(gaugeByValue(`quota_amount_${figure}`, 'org_unit', { ...quarter, ...money }))),
      transformations: joined(['value'], ['Team or unit'], ['Quota', 'Won', 'Attained', 'Expected', 'Open']),
      fields: [
        ['Attained', { unit: unit.ratio, decimals: 1, 'custom.width': 90 }],
        ['Expected', { unit: unit.ratio, decimals: 1, ...bar, max: 1, color: { mode: 'thresholds' }, ...coloured(expectedSteps) }],
        ['Team or unit', { links: byMetric('quota_amount_attainment', 'org_unit') }],
      ],
    }),
  ];
}

function people() {
  return [
    table({
      title: 'Sales race of the month ($history_currency)',
      description: `${quote('sales_results', 'Deals won, by the time they closed, and their amounts')} Owners ranked by amount; of equal amounts by won deals, then by name. The newest month with a won deal.`,
      unit: unit.money,
      decimals: 0,
      width: 12,
      height: 9,
      queries: [
        sqlRows(`SELECT rank AS "Rank", owner AS "Owner", any(users.name) AS "Name", sum(won) AS "Won deals", sum(won_amount) AS "Won amount"
          FROM sales_race LEFT JOIN ${names} AS users ON users.id = owner
          WHERE period = 'month' AND currency = \${history_currency:sqlstring}
            AND start = (SELECT max(start) FROM sales_race WHERE period = 'month' AND currency = \${history_currency:sqlstring})
          GROUP BY rank, owner ORDER BY rank`),
      ],
      fields: [
        ['Rank', { unit: unit.rank, 'custom.width': 60 }],
        ['Owner', ownerColumn],
        ['Name', { unit: unit.text }],
        ['Won deals', { unit: unit.count, 'custom.width': 100 }],
        ['Won amount', bar],
      ],
    }),
    table({
      title: 'Quota of the month by owner ($history_currency)',
      description: `${quote('quota', 'Won amounts ÷ quota, both of a whole period')} ${quote('quota', 'By owner and team; a quota counts for the owner, or the team, that it names')} The present month is not over.`,
      unit: unit.money,
      decimals: 0,
      width: 12,
      height: 9,
      queries: [
        sqlRows(`SELECT value[1] AS "Owner", any(users.name) AS "Name", sum(target) AS "Quota", sum(booked) AS "Won", toFloat64(sum(booked)) / toFloat64(sum(target)) AS "Attained"
          FROM quota_monthly LEFT JOIN ${names} AS users ON users.id = value[1]
          WHERE dimension = 'owner' AND currency = \${history_currency:sqlstring} AND month = toStartOfMonth($__toTime)
          GROUP BY "Owner" HAVING sum(target) > 0 ORDER BY "Attained" DESC`),
      ],
      fields: [['Owner', ownerColumn], ['Name', { unit: unit.text }], ['Attained', { unit: unit.ratio, decimals: 1, ...bar, max: 1 }]],
    }),
  ];
}

function customers() {
  return [
    stat({
      title: 'New contacts in $window',
      description: quote('contacts', 'New contacts, by the time they were created'),
      unit: unit.count,
      width: 4,
      height: 4,
      queries: [now(gauge('contacts_new'))],
    }),
    stat({
      title: 'Wins with a contact, $window',
      description: quote('contacted_wins', 'Won deals whose account has a contact ÷ won deals, by the time they closed'),
      unit: unit.ratio,
      decimals: 1,
      width: 4,
      height: 4,
      queries: [now(gauge('contacted_wins_rate'))],
    }),
    stat({
      title: 'Contacts touched in $window, and left alone',
      description: `${quote('touches', 'Touched are those whose latest activity lies in the window')} ${quote('touches', 'Untouched for N days are those whose latest activity lies before the last N days of the window, and those with none at all')}`,
      unit: unit.count,
      width: 8,
      height: 4,
      queries: [
        now(gauge('touches_touched'), 'touched'),
        now(gauge('touches_untouched_30'), 'not for 30 days'),
        now(gauge('touches_untouched_90'), 'not for 90 days'),
      ],
    }),
    stat({
      title: 'Revenue kept, last full month ($history_currency)',
      description: `${quote('retention', 'Net: what the same customers paid in the month ÷ base')} ${quote('retention', 'Gross: the same, of each customer no more than in the month before, and no less than 0 ÷ base')}`,
      unit: unit.ratio,
      decimals: 1,
      width: 8,
      height: 4,
      queries: [
        now(gauge('retention_amount_net', { window: 'qtd', currency: '$history_currency' }), 'net'),
        now(gauge('retention_amount_gross', { window: 'qtd', currency: '$history_currency' }), 'gross'),
      ],
    }),
    table({
      title: 'What customers paid so far, by the month they were acquired ($history_currency)',
      description: `${quote('clv', 'Σ (payments − refunds and credits) × margin')} ${quote('clv', 'Mean, median and 90 % over the customers that have such a payment, or such a won deal, in the currency')}`,
      unit: unit.money,
      decimals: 0,
      width: 12,
      height: 9,
      queries: [
        sqlRows(`SELECT formatDateTime(month, '%Y-%m') AS "Acquired", customers AS "Customers", total AS "Paid in all", mean AS "Mean", median AS "Median", p90 AS "90 %"
          FROM clv_cohort WHERE dimension = '' AND basis = 'payments' AND currency = \${history_currency:sqlstring} ORDER BY month DESC LIMIT 24`),
      ],
      fields: [
        ['Acquired', { unit: unit.text, 'custom.width': 90 }],
        ['Customers', { unit: unit.count, 'custom.width': 90 }],
        ['Mean', bar],
      ],
    }),
    timeseries({
      title: 'New contacts a week, by region',
      description: `${quote('contacts', 'New contacts, by the time they were created')} The newest week is not over.`,
      unit: unit.count,
      width: 12,
      height: 9,
      bars: true,
      stacked: true,
      min: 0,
      name: '${__field.labels.region}',
      queries: [
        sqlSeries(`SELECT toMonday(day) AS week, if(value[1] = '', '(none)', value[1]) AS region, sum(new) AS contacts FROM contacts_daily
          WHERE dimension = 'region' AND $__dateFilter(day) GROUP BY week, region ORDER BY week, region`),
      ],
    }),
  ];
}

function cycle() {
  return [
    stat({
      title: 'Cycle of won deals closed in $window',
      description: quote('cycle_length', 'closed_at − created_at of deals, by the time they closed: mean, median and 90th percentile'),
      unit: unit.days,
      decimals: 1,
      width: 6,
      height: 8,
      queries: [
        now(inDays('cycle_length_won_median_seconds'), 'median'),
        now(inDays('cycle_length_won_p90_seconds'), '90 %'),
        now(inDays('cycle_length_lead_to_close_median_seconds'), 'from the lead on, median'),
      ],
    }),
    timeseries({
      title: 'Mean cycle by the week of the close',
      description: `${quote('cycle_length', 'closed_at − created_at of deals, by the time they closed: mean')} Days of all deals ÷ deals, of each week.`,
      unit: unit.days,
      width: 10,
      height: 8,
      min: 0,
      name: '${__field.labels.outcome}',
      queries: [
        sqlSeries(`SELECT toMonday(day) AS week, replaceAll(cycle_length_daily.outcome, '_', ' ') AS outcome, toFloat64(sum(days)) / sum(count) AS days FROM cycle_length_daily
          WHERE dimension = '' AND $__dateFilter(day) GROUP BY week, outcome HAVING sum(count) > 0 ORDER BY week, outcome`),
      ],
    }),
    barGauge({
      title: 'Lost deals by reason, share of all lost in $window',
      description: `${quote('losses', 'Lost deals and their amounts, by the time they closed and by the reason stated')} ${quote('losses', 'The share of a group is of all deals lost in the window')}`,
      unit: unit.ratio,
      decimals: 1,
      width: 8,
      height: 8,
      queries: [now(`sort_desc(max by (value) (${selector('losses_share', { dimension: 'lost_reason', value: undefined })}))`, '{{value}}')],
    }),
  ];
}
