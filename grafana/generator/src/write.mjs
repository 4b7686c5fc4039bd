// Writes every generated file of the repository, or with --check says which committed ones differ from what would be written.
//
// A generator is a function that returns [path from the repository's root, text] pairs; a new kind of file is a line in `generators`.

import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

import { grafanaAlertFiles } from './alerts/grafana.mjs';
import { prometheusFiles } from './alerts/prometheus.mjs';
import { dashboardFiles } from './dashboards/files.mjs';

/** @type {(() => [string, string][])[]} */
const generators = [dashboardFiles, prometheusFiles, grafanaAlertFiles];
/** Directories in which every file is generated: others there are left over from something renamed. */
const generatedDirectories = ['grafana/dashboards', 'deploy/prometheus/rules', 'grafana/provisioning/alerting'];

const root = fileURLToPath(new URL('../../..', import.meta.url));
const files = new Map(generators.flatMap((generate) => generate()));
const isCheck = process.argv.includes('--check');

const wrong = [];
for (const [path, text] of files) {
  const target = join(root, path);
  if (!isCheck) {
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
  } else if (!existsSync(target) || readFileSync(target, 'utf8') !== text) {
    wrong.push(`${path} is not what its source in grafana/generator/ makes`);
  }
}
for (const directory of generatedDirectories.filter((directory) => existsSync(join(root, directory)))) {
  for (const name of readdirSync(join(root, directory), { recursive: true, withFileTypes: true })) {
    const path = relative(root, join(name.parentPath ?? name.path, name.name));
    if (name.isFile() && !files.has(path)) wrong.push(`${path} has no source in grafana/generator/`);
  }
}
if (wrong.length > 0) {
  console.error(`${wrong.join('\n')}\nrun \`make dashboards\` and commit the result`);
  process.exitCode = 1;
}
