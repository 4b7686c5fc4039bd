// The dashboards, as files: one JSON document each, named by its uid, and the page that explains them.

import { director } from './director.mjs';
import { metric } from './metric.mjs';
import { dashboardsPage } from './page.mjs';
import { pipeline } from './pipeline.mjs';
import { rep } from './rep.mjs';

/** @type {(() => import('@grafana/grafana-foundation-sdk/dashboard').Dashboard)[]} */
const dashboards = [director, rep, metric, pipeline];

/** @returns {[string, string][]} */
export function dashboardFiles() {
  const built = dashboards.map((make) => finished(make()));
  return [
    ...built.map((dashboard) => [`grafana/dashboards/${dashboard.uid}.json`, `${JSON.stringify(dashboard, null, 2)}\n`]),
    ['docs/dashboards.md', dashboardsPage(built)],
  ];
}

function finished(dashboard) {
  // A panel keeps its address while no panel is put before it.
  dashboard.panels.forEach((panel, index) => (panel.id = index + 1));
  // Defaults of the SDK that can't be asked away: tables have had no footer since Grafana 12, and links and marks would be in a menu.
  dashboard.panels.forEach((panel) => delete panel.options?.footer);
  [...dashboard.links, ...dashboard.annotations.list].forEach((each) => delete each.placement);
  return dashboard;
}
