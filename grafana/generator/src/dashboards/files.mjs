// The dashboards, as files: one JSON document each, named by its uid.

/** @type {(() => import('@grafana/grafana-foundation-sdk/dashboard').Dashboard)[]} */
const dashboards = [];

/** @returns {[string, string][]} */
export function dashboardFiles() {
  return dashboards.map((make) => {
    const dashboard = make();
    return [`grafana/dashboards/${dashboard.uid}.json`, `${JSON.stringify(dashboard, null, 2)}\n`];
  });
}
