// The texts of alerts, written once and rendered for both engines, whose templates can do different things.
//
// Prometheus' templates look values up while they are rendered; Grafana's see only what the rule itself has asked for. So a text names values, and
// the alert says which expression each of them is: Prometheus queries it for the labels of the alert, Grafana gets it as a further query of the rule.

/** @typedef {{ prometheus: (alert: Alert) => string, grafana: (alert: Alert) => string }} Part what a text is made of, besides plain strings */
/** @typedef {(string | Part)[]} Text */
/**
 * @typedef {object} Alert
 * @property {string} name
 * @property {string} expr its condition; there is a series for what it fires for
 * @property {string[]} labels the labels of that series by which values are looked up
 * @property {Record<string, (selector: string) => string>} values expressions by name, each of a selector without braces
 * @property {string} for
 * @property {string} [keepFiringFor]
 * @property {'critical' | 'warning'} severity
 * @property {'sales' | 'operations'} audience
 * @property {string} why the reasons for these settings, as a comment in the files
 * @property {Text} summary
 * @property {Text} description
 * @property {Text} dashboard the path of the dashboard to look at
 */

/**
 * A tagged template: plain strings and parts.
 * @returns {Text}
 */
export const text = (strings, ...parts) => strings.flatMap((string, i) => (i < parts.length ? [string, parts[i]] : [string]).flat());

/** @param {Text} parts @param {'prometheus' | 'grafana'} engine @param {Alert} alert */
export function render(parts, engine, alert) {
  const rendered = join(parts, engine, alert);
  return rendered.includes('$of') ? `${selectorOf(alert)}\n${rendered}` : rendered;
}

const join = (parts, engine, alert) => parts.map((part) => (typeof part === 'string' ? part : part[engine](alert))).join('');

/** How a number is written. Both engines have these functions. */
const formats = {
  count: 'printf "%.0f"',
  factor: 'printf "%.1f"',
  percent: 'humanizePercentage',
  duration: 'humanizeDuration',
  amount: 'humanize',
};

/** A value of the alert. @param {string} name @param {keyof typeof formats} format @returns {Part} */
export const value = (name, format) => ({
  prometheus: (alert) => lookup(alert, name, `{{ . | first | value | ${formats[format]} }}`),
  grafana: () => captured(name, `{{ .Value | ${formats[format]} }}`),
});

/** One of two texts, by a value that is 1 or 0. @param {string} name @param {string} yes @param {string} no @returns {Part} */
export const choice = (name, yes, no) => ({
  prometheus: (alert) => lookup(alert, name, `{{ if eq (. | first | value) 1.0 }}${yes}{{ else }}${no}{{ end }}`),
  grafana: () => captured(name, `{{ if eq .Value 1.0 }}${yes}{{ else }}${no}{{ end }}`),
});

/** A label of the alert. @param {string} name @returns {Part} */
export const label = (name) => same(`{{ .Labels.${name} }}`);

/** What is watched, by the labels `dimension` and `value`. @param {string} all how the total is named @returns {Part} */
export const series = (all) =>
  same(`{{ if eq .Labels.dimension "all" }}${all}{{ else }}{{ .Labels.dimension }} {{ .Labels.value }}{{ end }}`);

/** The path of the dashboard of one gauge, at the alert's dimension and value. @param {string} gauge @returns {Text} */
export const detail = (gauge) => [
  `/d/dealpulse-metric?var-metric=${gauge}`,
  same('{{ if ne .Labels.dimension "all" }}&var-dimension={{ .Labels.dimension | urlquery }}&var-value={{ .Labels.value | urlquery }}{{ end }}'),
];

/** The currency of the alert's amounts. @type {Part} */
export const currency = same('{{ if eq .Labels.currency "reporting" }}in the reporting currency{{ else }}{{ .Labels.currency }}{{ end }}');

/** One of two texts, by whether the alert has a label. @param {string} name @param {Text} yes @param {string} no @returns {Part} */
export const ifLabelled = (name, yes, no) => ({
  prometheus: (alert) => `{{ if .Labels.${name} }}${join(yes, 'prometheus', alert)}{{ else }}${no}{{ end }}`,
  grafana: (alert) => `{{ if .Labels.${name} }}${join(yes, 'grafana', alert)}{{ else }}${no}{{ end }}`,
});

/**
 * An item for every series of a value, such as "9 of owner u-ana". Grafana can't look up several: it gets an item for each of some values
 * that have one number, such as "9 of one owner".
 * @param {string} name @param {string} sortBy @param {string} item the template of one, with its sample as `.`
 * @param {Record<string, string>} instead what is said of the number, by the name of the value
 * @returns {Part}
 */
export const each = (name, sortBy, item, instead) => ({
  prometheus: (alert) => `{{ range ${queried(alert, name)} | sortByLabel "${sortBy}" }}${item}{{ end }}`,
  grafana: () => Object.entries(instead).map(([name, text]) => captured(name, `{{ .Value | ${formats.count} }} ${text}; `)).join(''),
});

/** The names of the values a text uses in Grafana. @param {string} rendered */
export const valuesUsed = (rendered) => new Set([...rendered.matchAll(/\.Values\.(\w+)/g)].map(([, name]) => name));

/** A template that both engines render alike. @param {string} template @returns {Part} */
function same(template) {
  return { prometheus: () => template, grafana: () => template };
}

/** Nothing is written where a value has no series, rather than an error in the midst of a text. */
const lookup = (alert, name, template) => `{{ with ${queried(alert, name)} }}${template}{{ end }}`;
const captured = (name, template) => `{{ with .Values.${name} }}${template}{{ end }}`;

/** The matchers of the alert's labels, whose values are data and so are quoted when the text is rendered. */
const selectorOf = ({ labels }) =>
  `{{ $of := printf "${labels.map((label) => `${label}=%q`).join(',')}" ${labels.map((label) => `.Labels.${label}`).join(' ')} -}}`;

/** The query for a value, for the labels of the alert. */
function queried(alert, name) {
  const expr = alert.values[name](alert.labels.length === 0 ? '' : '%s').replaceAll('"', '\\"');
  const occurrences = expr.split('%s').length - 1;
  return occurrences === 0 ? `query "${expr}"` : `query (printf "${expr}"${' $of'.repeat(occurrences)})`;
}
