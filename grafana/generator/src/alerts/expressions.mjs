// The expressions of the rules. Every instance of Dealpulse shows the same business gauges, so a rule reads one value for the whole organisation.

/** Gauges that rules read, each recorded as one value whatever the number of instances. */
export const recorded = [
  'alert_evidence',
  'alert_threshold',
  'alert_judged',
  'alert_bulk',
  'alert_observed',
  'alert_expected',
  'alert_sample',
  'alert_baseline_sample',
  'alert_calibrated',
  'alert_since_timestamp_seconds',
  'alert_cause',
  'alert_cause_records',
  'quota_amount_target',
  'quota_amount_booked',
  'quota_amount_expected',
  'quota_amount_expected_attainment',
  'quota_elapsed',
  'watermark_timestamp_seconds',
].map((gauge) => `dealpulse_${gauge}`);

const nameOf = (gauge) => `organisation:${gauge}:max`;
const expressionOf = (selector) => `max without (instance, job) (${selector})`;

/** The recording rules. */
export const recordings = recorded.map((gauge) => ({ record: nameOf(gauge), expr: expressionOf(gauge) }));

/** A recorded gauge, as Prometheus reads it. @param {string} gauge @param {...string} matchers */
export function gauge(gauge, ...matchers) {
  const name = `dealpulse_${gauge}`;
  if (!recorded.includes(name)) throw new Error(`${name} is not recorded`);
  return `${nameOf(name)}${selector(...matchers)}`;
}

/** Matchers in braces; none for none. @param {...string} matchers */
export function selector(...matchers) {
  const some = matchers.filter((matcher) => matcher !== '');
  return some.length === 0 ? '' : `{${some.join(',')}}`;
}

/** The same without recording rules, which a Prometheus that only serves Grafana need not have. @param {string} expr */
export const withoutRecordings = (expr) =>
  expr.replace(/organisation:(\w+):max(\{[^}]*\})?/g, (_, name, matchers = '') => expressionOf(name + matchers));
