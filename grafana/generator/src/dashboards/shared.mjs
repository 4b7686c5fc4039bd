// Panels that the dashboards of the organisation and of one owner have in common.

import { quote } from './definitions.mjs';
import { barGauge, colour, stat, unit } from './panels.mjs';
import { gauge, now } from './queries.mjs';

/**
 * @typedef {Record<string, string>} Whose labels of whose figures they are: none for the total
 * @typedef {{ width: number, height: number }} Size
 */

const inCurrency = (whose) => ({ ...whose, currency: '$currency' });
const thisQuarter = (whose) => ({ ...inCurrency(whose), window: 'qtd' });

/** @param {Whose} whose @param {Size} size */
export function changeOfAmountWon(whose, size) {
  return stat({
    title: 'Change of amount won',
    description: quote('sales_results', 'Change: (this − that) ÷ that, no number where that is 0'),
    unit: unit.ratio,
    decimals: 1,
    thresholds: [[null, colour.bad], [-0.1, colour.attention], [0, colour.good]],
    ...size,
    queries: [
      now(gauge('sales_results_amount_change', inCurrency(whose)), 'to before'),
      now(gauge('sales_results_amount_change_of_year', inCurrency(whose)), 'to a year ago'),
    ],
  });
}

/** @param {Whose} whose @param {Size} size */
export function averageWonDeal(whose, size) {
  return stat({
    title: 'Average won deal ($currency)',
    description: quote('sales_results', 'Average deal size: won amount ÷ won deals that have an amount'),
    unit: unit.shortMoney,
    ...size,
    queries: [now(gauge('sales_results_amount_average', inCurrency(whose)))],
  });
}

/** @param {Whose} whose @param {Size} size */
export function againstQuota(whose, size) {
  const figures = { target: 'quota', booked: 'won so far', run_rate: 'pace', expected: 'expected', remaining: 'needed', open: 'open' };
  return barGauge({
    title: 'This fiscal quarter against quota ($currency)',
    description: `${quote('quota', 'Won amounts ÷ quota, both of a whole period')} ${quote('quota', 'what would be won in the whole period at the pace so far, won ÷ days over (today included) × days of the period', 'Pace')} ${quote('quota', 'Expected: won, and these open amounts weighted by their probability')} ${quote('quota', 'what is still needed, never below 0', 'Needed')} ${quote('quota', 'open amounts expected from today to the period\'s end, omitted ones left out', 'Open')}`,
    unit: unit.shortMoney,
    ...size,
    queries: Object.entries(figures).map(([figure, name]) => now(gauge(`quota_amount_${figure}`, thisQuarter(whose)), name)),
  });
}

/** @param {Whose} whose @param {Size} size */
export function forecastByCategory(whose, size) {
  const cumulative = { commit: 'commit', best_case: 'best case', pipeline: 'pipeline' };
  return barGauge({
    title: 'Open, expected this fiscal quarter, by category and the surer ones ($currency)',
    description: `${quote('forecast', 'Categories: commit, best case and pipeline, each alone and with the surer ones (cumulative)')} ${quote('forecast', 'Weighted: Σ amount × probability, the deal\'s own or its stage\'s, whichever was said last')} Needed: to reach the quota.`,
    unit: unit.shortMoney,
    ...size,
    queries: [
      ...Object.entries(cumulative).map(([figure, name]) => now(gauge(`forecast_period_cumulative_${figure}`, thisQuarter(whose)), name)),
      now(gauge('forecast_period_amount_weighted', thisQuarter(whose)), 'weighted'),
      now(gauge('quota_amount_remaining', thisQuarter(whose)), 'needed'),
    ],
  });
}
