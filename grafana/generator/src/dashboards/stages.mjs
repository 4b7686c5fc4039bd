// The stages of the organisation's order: how many deals go on from each, and how long they stay.

import { quote } from './definitions.mjs';
import { bar, joined, table, unit } from './panels.mjs';
import { gaugeByValue, rows, sqlRows } from './queries.mjs';

const daysByStage = (figure) => rows(`${gaugeByValue(`time_in_stage_${figure}_seconds`, 'stage')} / 86400`);

/** Panels for a row of their own. */
export function stages() {
  return [
    table({
      title: 'How far deals come, created in the time shown',
      description: `${quote('stage_conversion', 'Of the deals that reached a stage, the share that went on to the next one, and from the last one to the win')} ${quote('stage_conversion', 'Open deals are in the cohort and may still go on, so the newest rates are immature: those of decided deals only are beside')}`,
      unit: unit.count,
      width: 12,
      height: 8,
      queries: [
        sqlRows(`SELECT stage AS "Stage", sum(reached) AS "Reached", sum(passed) AS "Went on", sum(passed) / sum(reached) AS "Rate",
            sum(decided_passed) / nullIf(sum(decided_reached), 0) AS "Of decided deals"
          FROM stage_conversion_daily WHERE dimension = '' AND $__dateFilter(day) GROUP BY position, stage HAVING sum(reached) > 0 ORDER BY position`),
      ],
      fields: [
        ['Stage', { unit: unit.text }],
        ['Rate', { unit: unit.ratio, decimals: 1, ...bar, max: 1 }],
        ['Of decided deals', { unit: unit.ratio, decimals: 1, 'custom.width': 140 }],
      ],
    }),
    table({
      title: 'Days in a stage that was left in $window',
      description: `${quote('time_in_stage', 'How long deals were in a stage of definitions.stage_order, by the time they left it: mean, median and 90th percentile')} ${quote('time_in_stage', 'A stage that was skipped has no time, and one that a deal is still in has none yet')}`,
      unit: unit.days,
      decimals: 1,
      width: 12,
      height: 8,
      sort: ['Median', true],
      queries: [daysByStage('median'), daysByStage('p90'), daysByStage('mean'), rows(gaugeByValue('time_in_stage_samples', 'stage'))],
      transformations: joined(['value'], ['Stage'], ['Median', '90 %', 'Mean', 'Deals']),
      fields: [
        ['Stage', { unit: unit.text }],
        ['Median', bar],
        ['Deals', { unit: unit.count, 'custom.width': 80 }],
      ],
    }),
  ];
}
