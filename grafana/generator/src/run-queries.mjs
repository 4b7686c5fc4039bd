// `node src/run-queries.mjs COMMAND…`, which runs dealpulse: every query of every dashboard on a real Prometheus and a real ClickHouse, beside a
// demonstration.
//
// A panel without rows, an annotation that can't be asked and a gauge that /metrics does not have are named, and the exit code is 1.

import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { withDemo } from './engines/demo.mjs';
import { withData } from './query/dashboard.mjs';
import { ask } from './query/prometheus.mjs';

const directory = fileURLToPath(new URL('../../dashboards', import.meta.url));
const dashboards = readdirSync(directory).map((name) => JSON.parse(readFileSync(`${directory}/${name}`, 'utf8')));

/** A query that asks for a gauge only if its name is of a kind: for its unit. */
const oneOfSeveral = /__name__(=~|!~)/;
/** What there is only once something has happened: a dead letter, or half of an alert's evidence. */
const rare = new Set(['dealpulse_dead_letters_total', 'dealpulse_unknown_fields_total', 'dealpulse_alert_cause']);
/** A change against a year ago, of one owner: whoever leads today may have won nothing in the currency then. */
const ofOneOwner = /_change_of_year\{[^}]*dimension="owner"/;
const isRare = (expr) => ofOneOwner.test(expr) || [...rare].some((name) => expr?.includes(name));

// More than a year, for what is compared with a year ago.
const organisation = { command: process.argv.slice(2), historyDays: 400, catchUpDays: 1, recorded: false, dealsPerDay: 6, speed: 100, scrapes: 3 };
const wrong = [];
let asked = 0;
await withDemo(organisation, async (engines) => {
  for (const dashboard of dashboards) {
    // Counters that were scraped for seconds have no rates over hours.
    const from = dashboard.time.from.endsWith('h') ? 'now-60s' : undefined;
    const { panels } = await withData(dashboard, engines, { from });
    for (const { title, answers, frames, targets } of panels) {
      asked += targets.length;
      if (frames.length === 0 && !targets.every(({ expr }) => isRare(expr))) wrong.push(`${dashboard.title}: “${title}” has no rows`);
      const silent = targets.filter(({ expr }, index) => answers[index].length === 0 && !oneOfSeveral.test(expr) && !isRare(expr));
      wrong.push(...silent.map(({ expr, rawSql }) => `${dashboard.title}: “${title}” asks in vain: ${expr ?? rawSql}`));
    }
    for (const { expr } of dashboard.annotations.list) {
      asked += 1;
      const { result } = await ask(engines.prometheus, 'query', { query: expr });
      if (result.length === 0) wrong.push(`${dashboard.title}: the alerts are not marked`);
    }
    for (const name of namesIn(dashboard)) {
      if (!new RegExp(`^${name}[{ ]`, 'm').test(engines.metrics) && !rare.has(name)) wrong.push(`${dashboard.title}: /metrics has no ${name}`);
    }
  }
});

/** The gauges that the queries of a dashboard name. */
function namesIn(dashboard) {
  const queries = [...dashboard.panels.flatMap(({ targets }) => targets ?? []), ...dashboard.annotations.list];
  return new Set(queries.flatMap(({ expr }) => expr?.match(/\bdealpulse_\w+/g) ?? []));
}

if (wrong.length > 0) {
  console.error(wrong.join('\n'));
  process.exitCode = 1;
} else {
  console.log(`${asked} queries of ${dashboards.length} dashboards have rows`);
}
