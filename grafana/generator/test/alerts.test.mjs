// The committed rules of Grafana against the committed rules of Prometheus, read as their programs read them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { parse, stringify } from 'yaml';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const read = (path) => parse(readFileSync(join(root, path), 'utf8'));
const rulesOf = (file) => read(file).groups.flatMap((group) => group.rules);

const prometheus = ['sales', 'pipeline'].flatMap((name) => rulesOf(`deploy/prometheus/rules/${name}.yml`));
const recordings = rulesOf('deploy/prometheus/rules/recording.yml');
const grafana = rulesOf('grafana/provisioning/alerting/rules.yaml');

/** An expression with every recorded series replaced by what it records. */
function expanded(expr) {
  return recordings.reduce((text, { record, expr: recorded }) => {
    const [before, after] = [recorded.slice(0, recorded.lastIndexOf(')')), recorded.slice(recorded.lastIndexOf(')'))];
    const selected = new RegExp(`${record}(\\{[^}]*\\})?(?![a-z_])`, 'g');
    return text.replace(selected, (_, matchers = '') => before + matchers + after);
  }, expr);
}

test('both evaluate the same conditions for the same time with the same labels', () => {
  assert.equal(grafana.length, prometheus.length);
  for (const theirs of prometheus) {
    const ours = grafana.find((rule) => rule.title === theirs.alert);
    assert.ok(ours, `Grafana has no ${theirs.alert}`);
    const [condition] = ours.data.filter((query) => query.refId === 'alert');
    assert.equal(condition.model.expr, expanded(theirs.expr), theirs.alert);
    assert.deepEqual(
      [ours.for, ours.keepFiringFor, ours.labels, ours.annotations.runbook],
      [theirs.for, theirs.keep_firing_for, theirs.labels, theirs.annotations.runbook],
      theirs.alert,
    );
  }
});

test('an alert leads to a dashboard there is, with variables it has, and is marked on a dashboard when it fires', () => {
  const dashboards = new Map(
    ['director', 'rep', 'metric', 'pipeline'].map((name) => {
      const dashboard = JSON.parse(readFileSync(join(root, `grafana/dashboards/dealpulse-${name}.json`), 'utf8'));
      return [dashboard.uid, dashboard];
    }),
  );
  const marked = [...dashboards.values()].flatMap(({ annotations }) => annotations.list.map(({ expr }) => expr ?? '')).join(' ');
  for (const { alert, annotations } of prometheus) {
    const [, uid] = annotations.dashboard.match(/\/d\/([\w-]+)/);
    assert.ok(dashboards.has(uid), `${alert}: ${uid}`);
    const variables = dashboards.get(uid).templating.list.map(({ name }) => name);
    for (const [, name] of annotations.dashboard.matchAll(/var-(\w+)=/g)) assert.ok(variables.includes(name), `${alert}: ${name}`);
    assert.match(marked, new RegExp(`\\b${alert}\\b`));
  }
});

test('a recorded series is the greatest of all instances', () => {
  for (const { record, expr } of recordings) {
    const [, gauge] = record.match(/^organisation:(dealpulse_\w+):max$/);
    assert.equal(expr, `max without (instance, job) (${gauge})`);
  }
});

test('a rule of Grafana asks for every value its texts use, and for no other', () => {
  for (const { title, data, condition, annotations } of grafana) {
    const texts = `${annotations.summary} ${annotations.description}`;
    const used = new Set([...texts.matchAll(/\.Values\.(\w+)/g)].map(([, name]) => name));
    assert.deepEqual(new Set(data.map(({ refId }) => refId)), new Set(['alert', ...used, condition]), title);
    for (const { refId, datasourceUid, model } of data) {
      assert.equal(datasourceUid, refId === condition ? '__expr__' : 'dealpulse-prometheus', title);
      assert.equal(model.refId, refId, title);
    }
  }
});

test('rules have unique uids, and folders that are named', () => {
  const uids = grafana.map(({ uid }) => uid);
  assert.equal(new Set(uids).size, uids.length);
  for (const { folder, interval } of read('grafana/provisioning/alerting/rules.yaml').groups) assert.ok(folder && interval);
});

test('what Grafana routes to is a contact point', () => {
  const [policy] = read('grafana/provisioning/alerting/policies.yaml').policies;
  const points = read('grafana/provisioning/alerting/contact-points.yaml').contactPoints.map(({ name }) => name);
  for (const { receiver } of [policy, ...policy.routes]) assert.ok(points.includes(receiver), receiver);
});

// Both programs' templates are Go's with the same functions, so Prometheus parses Grafana's expressions and texts, too.
test("Prometheus parses Grafana's expressions and texts", () => {
  const rules = grafana.flatMap(({ title, data, annotations }) =>
    data
      .filter(({ model }) => model.expr)
      .map(({ refId, model }) => ({ alert: `${title}_${refId}`, expr: model.expr, annotations })),
  );
  const directory = mkdtempSync(join(tmpdir(), 'dealpulse-rules-'));
  try {
    const file = join(directory, 'rules.yml');
    writeFileSync(file, stringify({ groups: [{ name: 'grafana', rules }] }));
    execFileSync('promtool', ['check', 'rules', file], { stdio: 'pipe' });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
