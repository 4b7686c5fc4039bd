// What there are alerts for: the one source of Prometheus' and Grafana's rules.

import { gauge, selector } from './expressions.mjs';
import { choice, currency, detail, each, ifLabelled, label, series, text, value } from './text.mjs';

/** @typedef {import('./text.mjs').Alert} Alert */

// The watched numbers ---------------------------------------------------------------------------------------------------------------------

/**
 * An alert on a watched number: its evidence has passed its threshold, there is enough to judge by, and it is not one bulk close.
 * @param {{ name: string, watch: string, summary: import('./text.mjs').Text, what: import('./text.mjs').Text, dashboard: import('./text.mjs').Text }} alert
 * @returns {Alert}
 */
const watched = ({ name, watch, summary, what, dashboard }) => {
  const of = (name) => (labels) => gauge(name, `watch="${watch}"`, labels);
  // One of `organisation:dealpulse_alert_cause:max`, such as "9 of 14 by owner: u-ana".
  const records = gauge('alert_cause_records', `watch=\\"${watch}\\"`, 'by=%q', '%s');
  const causeItem = `{{ . | value | printf "%.0f" }}{{ with query (printf "${records}" .Labels.by $of) }} of {{ . | first | value | printf "%.0f" }}{{ end }} by {{ .Labels.by | reReplaceAll "_" " " }}: {{ .Labels.name }}; `;
  const cause = (by) => (labels) =>
    `max without (name) (${gauge('alert_cause', `watch="${watch}"`, `by="${by}"`, labels)})`;
  return {
    name,
    expr: `${of('alert_evidence')('')} > ${gauge('alert_threshold')}
and ${gauge('alert_judged')} == 1
and ${gauge('alert_bulk')} == 0`,
    labels: ['dimension', 'value'],
    values: {
      observed: of('alert_observed'),
      expected: of('alert_expected'),
      sample: of('alert_sample'),
      baseline: of('alert_baseline_sample'),
      strength: (labels) => `${of('alert_evidence')(labels)} / ${gauge('alert_threshold')}`,
      calibrated: of('alert_calibrated'),
      days: (labels) => `(time() - ${of('alert_since_timestamp_seconds')(labels)}) / 86400`,
      causes: of('alert_cause'),
      owner: cause('owner'),
      reason: cause('lost_reason'),
      source: cause('source'),
    },
    for: '15m',
    keepFiringFor: '1h',
    severity: 'warning',
    audience: 'sales',
    why: `A warning: somebody should look today, nobody has to get up. The evidence moves once a day, when a full day is judged, so \`for\` only outlasts
what is transient (a back-fill, a rebuild's switch), and the last hour bridges a restart, after which the gauges are missing for some minutes.`,
    summary,
    description: text`${what}
How sure: the evidence is ${value('strength', 'factor')} times its threshold, which chance alone passes at most once in four years a series (${choice('calibrated', "calibrated on this organisation's own history", 'by the table of the simulation: run dealpulse alerts calibrate')}).
What moved it most: ${each('causes', 'by', causeItem, { owner: 'of one owner', reason: 'of one lost reason', source: 'of one source' })}compare the dashboard before acting.`,
    dashboard,
  };
};

/** @type {Alert[]} */
const sales = [
  watched({
    name: 'CloseRateDropped',
    watch: 'close_rate_30d',
    summary: text`Close rate of ${series('all leads')} dropped to ${value('observed', 'percent')}, expected ${value('expected', 'percent')}`,
    what: text`Of ${value('sample', 'count')} leads that had their 30 days within the last ${value('days', 'count')} days, ${value('observed', 'percent')} were won in that time; leads of the same phase of earlier quarters came to ${value('expected', 'percent')} (${value('baseline', 'count')} leads).`,
    dashboard: detail('dealpulse_close_rate_within_30d_rate'),
  }),
  watched({
    name: 'WinRateDropped',
    watch: 'win_rate',
    summary: text`Win rate of ${series('all deals')} dropped to ${value('observed', 'percent')}, expected ${value('expected', 'percent')}`,
    what: text`Of ${value('sample', 'count')} deals decided within the last ${value('days', 'count')} days, ${value('observed', 'percent')} were won; the same phase of earlier quarters came to ${value('expected', 'percent')} (${value('baseline', 'count')} deals).`,
    dashboard: detail('dealpulse_win_rate_rate'),
  }),
  watched({
    name: 'UpsellRateDropped',
    watch: 'upsell_rate',
    summary: text`Upsell rate of ${series('all wins')} dropped to ${value('observed', 'percent')}, expected ${value('expected', 'percent')}`,
    what: text`Of ${value('sample', 'count')} deals won within the last ${value('days', 'count')} days, ${value('observed', 'percent')} expanded a customer; the same phase of earlier quarters came to ${value('expected', 'percent')} (${value('baseline', 'count')} wins).`,
    dashboard: detail('dealpulse_upsell_rate'),
  }),
  watched({
    name: 'CycleLengthened',
    watch: 'cycle_length',
    summary: text`Won deals of ${series('the whole organisation')} take longer: ${value('observed', 'duration')}, expected ${value('expected', 'duration')}`,
    what: text`The ${value('sample', 'count')} deals won within the last ${value('days', 'count')} days took ${value('observed', 'duration')} from their creation to their close (the geometric mean); the same phase of earlier quarters came to ${value('expected', 'duration')} (${value('baseline', 'count')} wins).`,
    dashboard: detail('dealpulse_cycle_length_won_median_seconds'),
  }),
  watched({
    name: 'LeadSourceDriedUp',
    watch: 'lead_volume',
    summary: text`Leads of ${series('all sources')} fell to ${value('observed', 'factor')} a day, expected ${value('expected', 'factor')}`,
    what: text`${value('sample', 'count')} leads came within the last ${value('days', 'count')} days, ${value('observed', 'factor')} a day; expected were ${value('expected', 'factor')} a day (from ${value('baseline', 'count')} leads of the same phase of earlier quarters).`,
    dashboard: detail('dealpulse_lead_source_leads'),
  }),
  {
    name: 'ForecastBelowQuota',
    expr: `(
  ${gauge('quota_amount_expected_attainment', 'window="qtd"', 'dimension=~"all|team"', 'currency="reporting"')} < 0.9
or
  ${gauge('quota_amount_expected_attainment', 'window="qtd"', 'dimension=~"all|team"', 'currency!="reporting"')} < 0.9
  unless on (dimension, value) ${gauge('quota_amount_expected_attainment', 'window="qtd"', 'currency="reporting"')}
)
and on (dimension, value) ${gauge('quota_elapsed', 'window="qtd"')} >= 1 / 3`,
    labels: ['dimension', 'value', 'currency'],
    values: {
      attainment: (labels) => gauge('quota_amount_expected_attainment', 'window="qtd"', labels),
      expected: (labels) => gauge('quota_amount_expected', 'window="qtd"', labels),
      target: (labels) => gauge('quota_amount_target', 'window="qtd"', labels),
      booked: (labels) => gauge('quota_amount_booked', 'window="qtd"', labels),
    },
    for: '1h',
    keepFiringFor: '1d',
    severity: 'warning',
    audience: 'sales',
    why: `A tenth short is more than a forecast is usually off by, and before a third of the quarter is over the open pipeline of its end is not there yet.
For the total and the teams only: an owner's forecast is a handful of deals. Every deal moves it, so it has to hold for an hour to fire and to be better
for a day to end. With a reporting currency only that one is judged, since it has all deals.`,
    summary: text`Forecast of ${series('the quarter')} is ${value('attainment', 'percent')} of the quota`,
    description: text`Won so far: ${value('booked', 'amount')} ${currency}; with the weighted open deals expected by the end of the quarter ${value('expected', 'amount')}, of a quota of ${value('target', 'amount')}.
How sure: it is as good as the probabilities and the expected dates of the open deals; the dashboard shows how they moved.`,
    dashboard: ['/d/dealpulse-director'],
  },
];

// The pipeline itself ---------------------------------------------------------------------------------------------------------------------

const increase = (counter, range, ...matchers) => `increase(dealpulse_${counter}${selector(...matchers)}[${range}])`;
const deadLetters = (range, ...matchers) => `sum by (topic) (${increase('dead_letters_total', range, ...matchers)})`;
const routed = (window, ...matchers) => `sum by (topic) (increase(dealpulse_events_routed_total${selector(...matchers)}${window}))`;
const pipeline = ['/d/dealpulse-pipeline'];

/** @type {Alert[]} */
const operations = [
  {
    name: 'EventFeedSilent',
    expr: `${routed('[1h] offset 1w')} > 20
unless ${routed('[1h]')} > 0`,
    labels: ['topic'],
    values: {
      before: (labels) => routed('[1h] offset 1w', labels),
      age: (labels) => `time() - max by (topic) (dealpulse_newest_event_timestamp_seconds${selector(labels)})`,
    },
    for: '15m',
    severity: 'warning',
    audience: 'operations',
    why: `A feed is silent at night and on Sundays without being broken, so it is compared with its own same hour a week before; 20 events are more than
chance leaves out. A public holiday fires it once: that is cheaper than a fixed limit that is either deaf or loud. No alert in the first week.`,
    summary: text`No event from ${label('topic')} for an hour`,
    description: text`In the same hour a week ago ${value('before', 'count')} events came from ${label('topic')}; the newest one that was read is ${value('age', 'duration')} old.
How sure: a public holiday looks the same. If the lag of the route group grows, events are there and are not read; else the CRM's feed is silent. Numbers stay as they are, but nothing new is in them.`,
    dashboard: pipeline,
  },
  {
    name: 'WatermarkStalled',
    expr: `time() - ${gauge('watermark_timestamp_seconds')} > 600`,
    labels: [],
    values: {
      age: () => `time() - ${gauge('watermark_timestamp_seconds')}`,
      lag: () => 'sum(dealpulse_consumer_lag)',
      stopped: () => 'sum(dealpulse_shards_stopped)',
      waiting: () => 'sum(dealpulse_shards_backpressured)',
    },
    for: '5m',
    severity: 'critical',
    audience: 'operations',
    why: `The watermark follows the present within seconds, also when no event comes; ten minutes behind means that a shard is not folded. Five minutes
more let a restart or a rebalance finish. Critical, and it inhibits the alerts for sales: the numbers lack what happened since.`,
    summary: text`The metrics are complete only up to ${value('age', 'duration')} ago`,
    description: text`${value('lag', 'count')} messages are not folded yet; shards that stopped: ${value('stopped', 'count')}, that wait for ClickHouse: ${value('waiting', 'count')}.
How sure: certain, unless the clocks of Kafka and Prometheus differ. While a new version builds its metrics the watermark stays on purpose; dealpulse rebuild status says so.`,
    dashboard: pipeline,
  },
  {
    name: 'DataOld',
    expr: 'dealpulse_data_age_seconds > 60',
    labels: ['instance'],
    values: { age: (labels) => `dealpulse_data_age_seconds${selector(labels)}` },
    for: '2m',
    severity: 'critical',
    audience: 'operations',
    why: `The gauges are read again every two seconds and an instance is not ready at 30 s; a minute old, for two minutes, is no slow query any more.
By instance, since one that can't read shows old values beside the others' new ones. It inhibits the alerts for sales.`,
    summary: text`${label('instance')} shows metrics that are ${value('age', 'duration')} old`,
    description: text`The instance can't read the metrics from ClickHouse and goes on showing the last ones.
How sure: certain. Its /readyz has the reason.`,
    dashboard: pipeline,
  },
  {
    name: 'DeadLettersRising',
    expr: `${deadLetters('1h')} > 10
and ${deadLetters('1h')} > 3 * ${deadLetters('1w')} / 168
or ${deadLetters('1h', 'reason="gone"')} > 0`,
    labels: ['topic'],
    values: {
      letters: (labels) => deadLetters('1h', labels),
      events: (labels) => routed('[1h]', labels),
      most: (labels) => `max by (topic) (sum by (topic, reason) (${increase('dead_letters_total', '1h', labels)}))`,
      reasons: (labels) => `topk(3, sum by (reason) (${increase('dead_letters_total', '1h', labels)}) > 0)`,
    },
    for: '5m',
    severity: 'warning',
    audience: 'operations',
    why: `More than three times the mean hour of the week, and more than a handful: a feed has its usual few. \`gone\` is a loss in the feed itself and
fires at the first one. A warning, since nothing that was set aside is lost: it can be replayed.`,
    summary: text`${value('letters', 'count')} dead letters from ${label('topic')} in an hour`,
    description: text`Beside ${value('events', 'count')} messages that were read. Reasons: ${each('reasons', 'reason', '{{ . | value | printf "%.0f" }} {{ .Labels.reason }}; ', { most: 'of one reason' })}dealpulse dlq list shows them with their bytes.
How sure: certain; they are in no metric until they are replayed.`,
    dashboard: pipeline,
  },
  {
    name: 'FlushFailing',
    expr: `${increase('flush_retries_total', '5m')} > 10
or dealpulse_shards_backpressured > 0`,
    labels: ['instance'],
    values: {
      retries: (labels) => increase('flush_retries_total', '5m', labels),
      waiting: (labels) => `dealpulse_shards_backpressured${selector(labels)}`,
    },
    for: '5m',
    severity: 'warning',
    audience: 'operations',
    why: `Retries pause at most ten seconds, so an outage makes 30 in five minutes and a hiccup a few. A warning: what was folded waits and nothing is
lost; if it lasts, WatermarkStalled follows and is critical.`,
    summary: text`${label('instance')} can't write what it has folded`,
    description: text`${value('retries', 'count')} failed attempts within five minutes, ${value('waiting', 'count')} shards wait for ClickHouse.
How sure: certain. Writing resumes by itself when ClickHouse or Kafka takes it; the log of the instance has the error.`,
    dashboard: pipeline,
  },
  {
    name: 'RestartLooping',
    expr: 'changes(dealpulse_start_timestamp_seconds[30m]) > 2',
    labels: ['instance'],
    values: { restarts: (labels) => `changes(dealpulse_start_timestamp_seconds${selector(labels)}[30m])` },
    for: '0s',
    severity: 'warning',
    audience: 'operations',
    why: `Three starts in half an hour are no deployment. No \`for\`: the half hour is in the expression. What ends before it is scraped shows in
InstanceDown. A warning, since every restart goes on from its checkpoint.`,
    summary: text`${label('instance')} was restarted ${value('restarts', 'count')} times within half an hour`,
    description: text`Something ends the process again and again: memory (compare dealpulse_state_bytes with the limit), or an error that its log names.
How sure: certain; a deployment restarts each instance once.`,
    dashboard: pipeline,
  },
  {
    name: 'InstanceDown',
    expr: `up{job="dealpulse"} == 0
or absent(up{job="dealpulse"} == 1)`,
    labels: ['instance'],
    values: { left: () => 'sum(up{job="dealpulse"})' },
    for: '2m',
    severity: 'critical',
    audience: 'operations',
    why: `Two minutes outlast a restart. Critical: an instance that is down leaves its shards to the others; if none is up nothing is folded, and this
alert, then without the label \`instance\`, inhibits all others, which would only say the same.`,
    summary: text`${ifLabelled('instance', text`${label('instance')} can't be scraped`, 'No instance of Dealpulse can be scraped')}`,
    description: text`${ifLabelled('instance', text`Instances that still answer: ${value('left', 'count')}; they take over its shards.`, 'Nothing is folded and no metric is shown.')}
How sure: the process is down, or Prometheus can't reach it.`,
    dashboard: pipeline,
  },
];

/** The groups of rules. */
export const groups = [
  { name: 'dealpulse-sales', title: 'Dealpulse sales', file: 'sales', alerts: sales, about: 'What the numbers say: for those who sell.' },
  { name: 'dealpulse-pipeline', title: 'Dealpulse pipeline', file: 'pipeline', alerts: operations, about: 'Whether the numbers can be trusted: for those who run Dealpulse.' },
];
