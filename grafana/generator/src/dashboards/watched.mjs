// The watched numbers: how much evidence there is that one has changed for the worse, and which records are behind it (docs/alerts.md).

import { bar, colour, coloured, joined, table, timeseries, unit } from './panels.mjs';
import { overTime, rows } from './queries.mjs';

const keys = ['watch', 'dimension', 'value'];
const of = (gauge) => `max by (${keys.join(', ')}) (dealpulse_alert_${gauge})`;
const evidence = `${of('evidence')} / ${of('threshold')}`;
/** Of the numbers that can be judged. */
const judged = (expr) => `(${expr}) and ${of('threshold')}`;
const explained = 'Evidence is gathered day by day against the same phase of earlier quarters; at 100 % of the threshold an alert is sent.';

/** Panels for a row of their own. */
export function watched() {
  return [
    table({
      title: 'Watched numbers: evidence of a change for the worse, of what an alert needs',
      description: `${explained} Observed is since the evidence was last 0, as a share of what was expected of the same days; of a cycle length above 100 % is bad. Records is how many are behind it, smallest drop what is caught within 28 days at this volume. Numbers too small to be judged are left out.`,
      unit: unit.ratio,
      decimals: 0,
      width: 12,
      height: 9,
      sort: ['Evidence', true],
      queries: [rows(evidence), rows(judged(`${of('observed')} / ${of('expected')}`)), rows(judged(of('sample'))), rows(judged(of('smallest_drop')))],
      transformations: joined(keys, ['Number', 'Dimension', 'Value'], ['Evidence', 'Observed', 'Records', 'Smallest drop']),
      fields: [
        ['Evidence', { ...bar, max: 1, color: { mode: 'thresholds' }, ...coloured(evidenceSteps) }],
        ['Records', { unit: unit.count }],
      ],
    }),
    timeseries({
      title: 'Evidence, all, of what an alert needs',
      description: `${explained} The total of every watched number that can be judged. As Prometheus kept it.`,
      unit: unit.ratio,
      width: 6,
      height: 9,
      min: 0,
      softMax: 1,
      queries: [overTime('max by (watch) (dealpulse_alert_evidence{dimension="all"}) / max by (watch) (dealpulse_alert_threshold{dimension="all"})', '{{watch}}')],
    }),
    table({
      title: 'Records behind the evidence',
      description: 'Where there is half of what an alert needs. Of the records that moved the number: the owner, the reason and the source that has most more than usual, and how many are its.',
      unit: unit.count,
      width: 6,
      height: 9,
      sort: ['Records', true],
      queries: [rows('max by (watch, value, by, name) (dealpulse_alert_cause)')],
      transformations: joined(['watch', 'value', 'by', 'name'], ['Number', 'Of', 'By', 'Name'], ['Records']),
      fields: [['Number', { 'custom.width': 110 }], ['By', { 'custom.width': 90 }], ['Records', { 'custom.width': 75 }]],
    }),
  ];
}

/** Half the evidence is worth a look, all of it is an alert. */
const evidenceSteps = [[null, colour.plain], [0.5, colour.attention], [1, colour.bad]];
