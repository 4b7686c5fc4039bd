// The dashboards, as files: one JSON document each, named by its uid.

import { director } from './director.mjs';
import { metric } from './metric.mjs';
import { pipeline } from './pipeline.mjs';
import { rep } from './rep.mjs';

/** @type {(() => import('@grafana/grafana-foundation-sdk/dashboard').Dashboard)[]} */
const dashboards = [director, rep, metric, pipeline];

/** @returns {[string, string][]} */
export function dashboardFiles() {
  return dashboards.map((make) => {
    const dashboard = make();
    // A panel keeps its address while no panel is put before it.
    dashboard.panels.forEach((panel, index) => (panel.id = index + 1));
    // The SDK hides links and annotations in a menu and has no way to ask for their usual place, which is stated by saying nothing.
    [...dashboard.links, ...dashboard.annotations.list].forEach((each) => delete each.placement);
    return [`grafana/dashboards/${dashboard.uid}.json`, `${JSON.stringify(dashboard, null, 2)}\n`];
  });
}
