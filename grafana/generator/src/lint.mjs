// What can be wrong with the dashboards without asking any engine: each is checked by Grafana's published types, and by the
// rules below. What is wrong is named, and the exit code is 1.

import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { variablesIn } from './query/interpolate.mjs';
import { validator } from './schema/validate.mjs';

const read = (path) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
const dashboards = readdirSync(fileURLToPath(new URL('../../dashboards', import.meta.url))).map((name) => JSON.parse(read(`dashboards/${name}`)));
const dataSources = [...read('provisioning/datasources/dealpulse.yaml').matchAll(/^ +uid: (\S+)$/gm)].map(([, uid]) => uid);

const rules = { titlesUnitsAndDescriptions, grid, variables, sources, links, overrides };
const validate = validator();
const wrong = dashboards.flatMap((dashboard) => [
  ...validate(dashboard),
  ...Object.values(rules).flatMap((rule) => rule(dashboard).map((what) => `${dashboard.title}: ${what}`)),
]);
for (const uid of dataSources) {
  if (!dashboards.some((dashboard) => targets(dashboard).some(({ datasource }) => datasource.uid === uid))) wrong.push(`no panel uses the data source ${uid}`);
}
const uids = dashboards.map(({ uid }) => uid);
if (new Set(uids).size < uids.length) wrong.push(`two dashboards have one uid: ${uids.join(', ')}`);

if (wrong.length > 0) {
  console.error(wrong.join('\n'));
  process.exitCode = 1;
} else {
  console.log(`${dashboards.length} dashboards are in order`);
}

function panels({ panels }) {
  return panels.filter(({ type }) => type !== 'row');
}

function targets(dashboard) {
  return panels(dashboard).flatMap((panel) => panel.targets);
}

/** Every panel says what is counted and in which unit, in titles that differ. */
function titlesUnitsAndDescriptions(dashboard) {
  const titles = panels(dashboard).map(({ title }) => title);
  return panels(dashboard).flatMap(({ title, description, fieldConfig }) => [
    ...(title.length < 10 ? [`the title “${title}” does not say what is counted`] : []),
    ...(/\.$/.test(description) ? [] : [`“${title}” has no sentence as its description`]),
    ...(fieldConfig.defaults.unit ? [] : [`“${title}” has no unit`]),
    ...(titles.indexOf(title) < titles.lastIndexOf(title) ? [`two panels are called “${title}”`] : []),
  ]);
}

/** No panel covers another, or goes beyond the 24 columns. */
function grid({ panels }) {
  const cells = new Map();
  return panels.flatMap(({ title, gridPos: { x, y, w, h } }) => {
    if (x + w > 24) return [`“${title}” is wider than the grid`];
    for (let row = y; row < y + h; row += 1) {
      for (let column = x; column < x + w; column += 1) {
        const key = `${column},${row}`;
        if (cells.has(key)) return [`“${title}” covers “${cells.get(key)}”`];
        cells.set(key, title);
      }
    }
    return [];
  });
}

/** Every variable is used, and every one that is used is declared. */
function variables(dashboard) {
  const declared = dashboard.templating.list.map(({ name }) => name);
  const texts = JSON.stringify([dashboard.panels, dashboard.annotations, dashboard.templating.list.map(({ query }) => query)]);
  const used = new Set(variablesIn(texts));
  return [
    ...declared.filter((name) => !used.has(name)).map((name) => `the variable ${name} is not used`),
    ...[...used].filter((name) => !declared.includes(name)).map((name) => `there is no variable ${name}`),
  ];
}

/** Data sources are those that are provisioned. */
function sources(dashboard) {
  const asked = [...targets(dashboard), ...panels(dashboard), ...dashboard.annotations.list, ...dashboard.templating.list].flatMap(({ datasource }) => datasource?.uid ?? []);
  return [...new Set(asked)].filter((uid) => !dataSources.includes(uid)).map((uid) => `there is no data source ${uid}`);
}

/** Links lead to one of these dashboards and set variables it has. */
function links(dashboard) {
  const urls = [...JSON.stringify(dashboard.panels).matchAll(/"url":"([^"]*)"/g)].map(([, url]) => url);
  return urls.flatMap((url) => {
    const [, uid, query] = /^\/d\/([\w-]+)\?(.*)$/.exec(url) ?? [];
    const target = dashboards.find((other) => other.uid === uid);
    if (!target) return [`the link ${url} leads nowhere`];
    const names = [...query.matchAll(/\bvar-(\w+)=/g)].map(([, name]) => name);
    return names.filter((name) => !target.templating.list.some((variable) => variable.name === name)).map((name) => `the link ${url} sets ${name}, which “${target.title}” does not have`);
  });
}

/** A property is set for a column or a series that there is: named by a legend, a transformation or a query. */
function overrides(dashboard) {
  return panels(dashboard).flatMap(({ title, targets, transformations = [], fieldConfig }) => {
    const named = new Set([
      ...targets.flatMap(({ legendFormat, rawSql = '' }) => [legendFormat, ...[...rawSql.matchAll(/ AS (?:"([^"]+)"|(\w+))/g)].map(([, quoted, plain]) => quoted ?? plain)]),
      ...transformations.flatMap(({ options }) => Object.values(options.renameByName ?? {})),
    ]);
    const names = fieldConfig.overrides.filter(({ matcher }) => matcher.id === 'byName').map(({ matcher }) => matcher.options);
    return names.filter((name) => !named.has(name)).map((name) => `“${title}” sets properties of “${name}”, which it does not show`);
  });
}
