// docs/dashboards.md: how to set the dashboards up, and each with its picture and what its panels count.

import { clickhouse, prometheus } from './queries.mjs';

const introduction = `# The Grafana dashboards

<!-- Written by \`make dashboards\` from grafana/generator/src/dashboards/; the pictures by \`make pictures\`. -->

Four dashboards, as JSON in \`grafana/dashboards/\`: for the [sales director](#sales-director), for a [sales rep](#sales-rep), for [any metric](#metric-detail), and for those who
run the [pipeline](#pipeline-health). What is live comes from Prometheus, history by day, week and month from the views in ClickHouse. Panels show the numbers the pipeline made: they add up the days
of a view, and recompute nothing. The pictures are drawn by Grafana's own components from these files, with the answers of a real Prometheus and ClickHouse to the queries of a demonstration's
panels.

## Setting them up

You need a Prometheus that scrapes \`/metrics\` of every instance, and a Grafana (12 or newer) with the plug-in \`${clickhouse.type}\`.

- **Provisioned**: mount \`grafana/provisioning/\` and \`grafana/dashboards/\` at \`/etc/grafana/provisioning\` and \`/etc/grafana/dashboards\`, and set the environment variables that
  \`grafana/provisioning/datasources/dealpulse.yaml\` explains.
- **By hand**: make two data sources with the uids \`${prometheus.uid}\` and \`${clickhouse.uid}\` (protocol HTTP), and import the JSON files.
- **With the demonstration**: \`make demo\` prints where its gauges and its ClickHouse are. A scrape job for it:

  \`\`\`yaml
  scrape_configs:
    - job_name: dealpulse
      static_configs: [{ targets: ["127.0.0.1:9464"] }]
  \`\`\`

The files are generated (\`make dashboards\`), so change what makes them and not them; to change one in Grafana, save a copy under another uid. A red mark on the time axis is an alert that fired.

Three variables are on most dashboards. **Window** is the rolling window of live figures. **Currency** is that of live amounts; \`reporting\`, where a reporting currency is configured, has all of them. **Currency of
history** is that of amounts by day, week and month, which are never converted. Days are those of the organisation. A dimension shows the values with most leads and decided deals
(\`serve.top\`); those of history have all.
`;

/** @param {any[]} dashboards built */
export function dashboardsPage(dashboards) {
  return [introduction, ...dashboards.map(section)].join('\n');
}

function section({ title, uid, description, panels }) {
  const parts = panels.map((panel) => (panel.type === 'row' ? `\n**${plain(panel.title)}**\n` : `- *${plain(panel.title)}*: ${panel.description}`));
  return `## ${title}

${description}

![${title}](pictures/${uid.replace('dealpulse-', '')}.png)
${parts.join('\n')}
`;
}

/** A title without what depends on variables. */
function plain(title) {
  return title
    .replace(/ \(\$\w*currency\)/, '')
    .replaceAll('$window', 'the window')
    .replace('$metric of $value', 'The metric of one value')
    .replaceAll('$metric', 'The metric')
    .replaceAll('$dimension', 'the dimension');
}
