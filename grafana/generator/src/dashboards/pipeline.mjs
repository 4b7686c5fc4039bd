// Whether the pipeline is well: how far behind it is, what it could not read, whether it writes, and what it holds.

import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import { dashboard, fromPrometheus, pipelineAlerts, uid } from './common.mjs';
import { meaning } from './definitions.mjs';
import { bar, colour, joined, stat, table, timeseries, unit } from './panels.mjs';
import { now, overTime, rows } from './queries.mjs';

const on = '{instance=~"$instance"}';
const rate = (name) => `rate(${name}${on}[$__rate_interval])`;
const noneIsGood = [[null, colour.good], [1, colour.bad]];

export function pipeline() {
  const built = dashboard({
    uid: uid.pipeline,
    title: 'Pipeline health',
    description: 'How far behind the pipeline is, what it could not read, whether it writes, and what it holds. Every instance reports its own share.',
    from: 'now-6h',
    refresh: '30s',
    alerts: pipelineAlerts,
  }).withVariable(
    fromPrometheus('instance', 'label_values(dealpulse_build_info, instance)').label('Instance').description('The instances that are scraped').multi(true).includeAll(true).allValue('.+'),
  );
  for (const [title, panels] of [
    ['Can the figures be trusted now?', trust()],
    ['How far behind', behind()],
    ['What came in, and what could not be read', input()],
    ['Writing to ClickHouse', writing()],
    ['What the instances hold', holding()],
  ]) {
    built.withRow(new RowBuilder(title));
    panels.forEach((panel) => built.withPanel(panel));
  }
  return built.build();
}

function trust() {
  const small = { width: 4, height: 4 };
  return [
    stat({
      title: 'Age of the business gauges',
      description: `${meaning('dealpulse_data_age_seconds')} The oldest of all instances.`,
      unit: unit.seconds,
      decimals: 1,
      thresholds: [[null, colour.good], [30, colour.attention], [60, colour.bad]],
      ...small,
      queries: [now(`max(dealpulse_data_age_seconds${on})`)],
    }),
    stat({
      title: 'Age of the watermark',
      description: `${meaning('dealpulse_watermark_age_seconds')} The oldest of all instances. Without new events it grows until the next heartbeat.`,
      unit: unit.seconds,
      decimals: 1,
      thresholds: [[null, colour.good], [300, colour.attention], [900, colour.bad]],
      ...small,
      queries: [now(`max(dealpulse_watermark_age_seconds${on})`)],
    }),
    stat({
      title: 'Messages waiting',
      description: `${meaning('dealpulse_consumer_lag')} The sum of all topics.`,
      unit: unit.count,
      thresholds: [[null, colour.good], [10_000, colour.attention], [100_000, colour.bad]],
      ...small,
      queries: [now('sum(max without (instance, job) (dealpulse_consumer_lag))')],
    }),
    stat({
      title: 'Shards stopped',
      description: meaning('dealpulse_shards_stopped'),
      unit: unit.count,
      thresholds: noneIsGood,
      ...small,
      queries: [now(`sum(dealpulse_shards_stopped${on})`)],
    }),
    stat({
      title: 'Dead letters in the time shown',
      description: meaning('dealpulse_dead_letters_total'),
      unit: unit.count,
      decimals: 0,
      thresholds: [[null, colour.good], [1, colour.attention]],
      ...small,
      queries: [now(`sum(increase(dealpulse_dead_letters_total${on}[$__range])) or vector(0)`)],
    }),
    stat({
      title: 'Instances, and shards they own',
      description: `Instances that are scraped, and the shards of all. ${meaning('dealpulse_shards_owned')}`,
      unit: unit.count,
      ...small,
      queries: [now(`count(dealpulse_build_info${on})`, 'instances'), now(`sum(dealpulse_shards_owned${on})`, 'shards')],
    }),
    stat({
      title: 'Values refused, cells that differed',
      description: `Values: ${meaning('dealpulse_values_refused_total')} Cells: ${meaning('dealpulse_read_model_differences_total')} Since the instances were started.`,
      unit: unit.count,
      thresholds: noneIsGood,
      width: 8,
      height: 4,
      queries: [now(`sum(dealpulse_values_refused_total${on})`, 'values refused'), now(`sum(dealpulse_read_model_differences_total${on})`, 'cells that differed')],
    }),
    stat({
      title: 'Shards that wait for ClickHouse',
      description: meaning('dealpulse_shards_backpressured'),
      unit: unit.count,
      thresholds: [[null, colour.good], [1, colour.attention]],
      width: 8,
      height: 4,
      queries: [now(`sum(dealpulse_shards_backpressured${on})`)],
    }),
    stat({
      title: 'Instances with an outdated configuration',
      description: meaning('dealpulse_configuration_outdated'),
      unit: unit.count,
      thresholds: [[null, colour.good], [1, colour.attention]],
      width: 8,
      height: 4,
      queries: [now(`sum(dealpulse_configuration_outdated${on})`)],
    }),
  ];
}

function behind() {
  return [
    timeseries({
      title: 'Messages waiting, by topic',
      description: meaning('dealpulse_consumer_lag'),
      unit: unit.count,
      width: 6,
      height: 8,
      min: 0,
      queries: [overTime('sum by (topic) (max without (instance, job) (dealpulse_consumer_lag))', '{{topic}}')],
    }),
    timeseries({
      title: 'Age of the watermark, by instance',
      description: meaning('dealpulse_watermark_age_seconds'),
      unit: unit.seconds,
      width: 6,
      height: 8,
      min: 0,
      queries: [overTime(`dealpulse_watermark_age_seconds${on}`, '{{instance}}')],
    }),
    timeseries({
      title: 'Age of the business gauges, by instance',
      description: meaning('dealpulse_data_age_seconds'),
      unit: unit.seconds,
      width: 6,
      height: 8,
      min: 0,
      queries: [overTime(`dealpulse_data_age_seconds${on}`, '{{instance}}')],
    }),
    timeseries({
      title: 'Latency from the log to ClickHouse',
      description: meaning('dealpulse_end_to_end_latency_seconds'),
      unit: unit.seconds,
      width: 6,
      height: 8,
      min: 0,
      queries: [0.5, 0.95, 0.99].map((quantile) =>
        overTime(`histogram_quantile(${quantile}, sum by (le) (${rate('dealpulse_end_to_end_latency_seconds_bucket')}))`, `${quantile * 100} %`),
      ),
    }),
  ];
}

function input() {
  return [
    timeseries({
      title: 'Messages decoded a second, by topic',
      description: meaning('dealpulse_events_routed_total'),
      unit: unit.perSecond,
      width: 8,
      height: 8,
      min: 0,
      queries: [overTime(`sum by (topic) (${rate('dealpulse_events_routed_total')})`, '{{topic}}')],
    }),
    timeseries({
      title: 'Assertions and links folded a second',
      description: `Assertions: ${meaning('dealpulse_assertions_folded_total')} Unchanged: ${meaning('dealpulse_assertions_unchanged_total')} Links: ${meaning('dealpulse_links_folded_total')}`,
      unit: unit.perSecond,
      width: 8,
      height: 8,
      min: 0,
      queries: [
        overTime(`sum(${rate('dealpulse_assertions_folded_total')})`, 'assertions'),
        overTime(`sum(${rate('dealpulse_assertions_unchanged_total')})`, 'of these unchanged'),
        overTime(`sum(${rate('dealpulse_links_folded_total')})`, 'links'),
      ],
    }),
    timeseries({
      title: 'Dead letters and unknown fields',
      description: `Dead letters: ${meaning('dealpulse_dead_letters_total')} Fields: ${meaning('dealpulse_unknown_fields_total')} How many in each step of the time shown.`,
      unit: unit.count,
      width: 8,
      height: 8,
      bars: true,
      stacked: true,
      min: 0,
      softMax: 5,
      queries: [
        overTime(`sum by (topic, reason) (increase(dealpulse_dead_letters_total${on}[$__rate_interval])) or label_replace(vector(0), "reason", "dead letters", "", "")`, '{{reason}} {{topic}}'),
        overTime(`sum by (topic) (increase(dealpulse_unknown_fields_total${on}[$__rate_interval])) or vector(0)`, 'unknown fields {{topic}}'),
      ],
    }),
  ];
}

function writing() {
  return [
    timeseries({
      title: 'How long a flush takes, by step, 95 %',
      description: meaning('dealpulse_flush_seconds'),
      unit: unit.seconds,
      width: 8,
      height: 8,
      min: 0,
      queries: [overTime(`histogram_quantile(0.95, sum by (step, le) (${rate('dealpulse_flush_seconds_bucket')}))`, '{{step}}')],
    }),
    timeseries({
      title: 'Rows written a second, by table',
      description: meaning('dealpulse_flush_rows_total'),
      unit: unit.perSecond,
      width: 8,
      height: 8,
      min: 0,
      queries: [overTime(`sum by (table) (${rate('dealpulse_flush_rows_total')})`, '{{table}}')],
    }),
    timeseries({
      title: 'Writes retried, refreshes failed',
      description: `Writes: ${meaning('dealpulse_flush_retries_total')} Refreshes: ${meaning('dealpulse_read_model_refreshes_total')} How many in each step of the time shown; only those that failed.`,
      unit: unit.count,
      width: 8,
      height: 8,
      bars: true,
      stacked: true,
      min: 0,
      softMax: 5,
      queries: [
        overTime(`sum(increase(dealpulse_flush_retries_total${on}[$__rate_interval]))`, 'writes retried'),
        overTime('sum(increase(dealpulse_read_model_refreshes_total{instance=~"$instance",result="failed"}[$__rate_interval]))', 'refreshes failed'),
      ],
      fields: [
        ['writes retried', { color: { mode: 'fixed', fixedColor: colour.attention } }],
        ['refreshes failed', { color: { mode: 'fixed', fixedColor: colour.bad } }],
      ],
    }),
  ];
}

function holding() {
  return [
    timeseries({
      title: 'Memory of records, links and cells, by instance',
      description: meaning('dealpulse_state_bytes'),
      unit: unit.bytes,
      width: 6,
      height: 8,
      min: 0,
      queries: [overTime(`dealpulse_state_bytes${on}`, '{{instance}}')],
    }),
    timeseries({
      title: 'Rows that wait for ClickHouse, by instance',
      description: meaning('dealpulse_append_only_rows'),
      unit: unit.count,
      width: 6,
      height: 8,
      min: 0,
      queries: [overTime(`dealpulse_append_only_rows${on}`, '{{instance}}')],
    }),
    table({
      title: 'Records held, by entity',
      description: meaning('dealpulse_records'),
      unit: unit.count,
      width: 6,
      height: 8,
      sort: ['Records', true],
      queries: [rows(`sum by (entity) (dealpulse_records${on})`)],
      transformations: joined(['entity'], ['Entity'], ['Records']),
      fields: [['Records', bar]],
    }),
    table({
      title: 'Shards owned, by instance and version',
      description: `${meaning('dealpulse_shards_owned')} ${meaning('dealpulse_build_info')}`,
      unit: unit.count,
      width: 6,
      height: 8,
      queries: [rows(`sum by (instance, version) (dealpulse_build_info${on} * on (instance, job) group_left () dealpulse_shards_owned)`)],
      transformations: joined(['instance', 'version'], ['Instance', 'Version'], ['Shards']),
    }),
  ];
}
