// A demonstration at work, and a Prometheus that scrapes it and knows its past: what the dashboards are tried on and drawn from.
//
// For pictures its past is recorded: while the organisation's clock catches up with today some gauges are kept under the organisation's
// time, once a day of it, and given to Prometheus before it starts. So “as it was shown” is what they showed on each of these days. In the
// same way the forecast is set aside: the pipeline does so by the log's time, and the demonstration's log has ours.

import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { execute } from '../query/clickhouse.mjs';
import { ask } from '../query/prometheus.mjs';

/** Also how long a scrape may take, which on a busy machine is seconds. */
const SCRAPE_SECONDS = 5;
const DAY = 86_400;
/** Of these the past is shown: see the queries over time of the dashboards. */
const ofThePast = /^dealpulse_(?:(?:win_rate_rate|close_rate_within_30d_rate)(?:_low|_high)?|alert_evidence|alert_threshold)\{/;

/**
 * Runs `use` beside a demonstration that has caught up with today, and ends everything.
 * @param {object} organisation
 * @param {string[]} organisation.command what runs dealpulse
 * @param {number} organisation.historyDays
 * @param {number} organisation.catchUpDays the days its clock runs through, at `speed`
 * @param {boolean} organisation.recorded whether these are to be Prometheus' past
 * @param {number} organisation.dealsPerDay
 * @param {number} organisation.speed hours a second
 * @param {number} organisation.scrapes how many times Prometheus is to have scraped at last
 * @param {(engines: import('../query/dashboard.mjs').Engines & { started: number, metrics: string }) => Promise<void>} use
 */
export async function withDemo({ command, historyDays, catchUpDays, recorded, dealsPerDay, speed, scrapes }, use) {
  const started = Date.now();
  const directory = mkdtempSync(join(tmpdir(), 'dealpulse-dashboards-'));
  const children = [];
  const start = (program, args, options) => children[children.push(spawn(program, args, options)) - 1];
  // Ended from outside, too, it leaves nothing behind.
  const interrupted = () => {
    children.forEach((child) => child.kill('SIGTERM'));
    rmSync(directory, { recursive: true, force: true });
    process.exit(1);
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    const [program, ...first] = command;
    const demo = start(
      program,
      [...first, 'demo', '--listen', '127.0.0.1:0', '--history-days', historyDays, '--catch-up-days', catchUpDays, '--deals-per-day', dealsPerDay, '--speed', speed].map(String),
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const said = await output(demo, /scrapes (http:\S+)\/metrics, a Grafana asks ClickHouse at (\S+) \(database (\w+)\)/);
    const [, page, url, name] = said;
    const port = await freePort();
    const data = join(directory, 'data');
    const prometheus = `http://127.0.0.1:${port}`;
    writeFileSync(join(directory, 'prometheus.yml'), configuration(new URL(page).host));
    writeFileSync(join(directory, 'alerts.yml'), alerts);
    // A day's gap between two points of the past is none.
    const options = ['--config.file=prometheus.yml', `--storage.tsdb.path=${data}`, '--storage.tsdb.retention.time=10y', '--query.lookback-delta=26h'];
    const scrape = () => start('prometheus', [...options, `--web.listen-address=127.0.0.1:${port}`, '--log.level=error'], { cwd: directory, stdio: 'ignore' });
    const scraping = scrape();
    const database = { url, name };
    const past = await untilToday(page, catchUpDays, (instant) => setForecastAside(database, instant));
    // A forecast of two days ago there is in any case.
    await setForecastAside(database, Date.now() / 1000 - 2 * DAY);
    if (recorded) {
      // The clock runs while the history comes in, so the first days pass unseen.
      if (past.size < 10) throw new Error(`${past.size} days of ${catchUpDays} were recorded: the clock runs too fast`);
      await end(scraping);
      writeFileSync(join(directory, 'past.txt'), openMetrics(past, new URL(page).host));
      await promisify(execFile)('promtool', ['tsdb', 'create-blocks-from', '--max-block-duration=2400h', 'openmetrics', 'past.txt', data], { cwd: directory });
      scrape();
    }
    const restarted = Date.now();
    const scraped = async () => {
      const seconds = Math.ceil((Date.now() - restarted) / 1000);
      const { result } = await ask(prometheus, 'query', { query: `count_over_time(dealpulse_watermark_age_seconds[${seconds}s])` });
      return Number(result[0]?.value[1] ?? 0) >= scrapes;
    };
    await until(`Prometheus has scraped ${scrapes} times`, scraped, 300);
    const metrics = await (await fetch(`${page}/metrics`)).text();
    await use({ prometheus, clickhouse: { url, database: name }, scrapeInterval: SCRAPE_SECONDS * 1000, now: Date.now(), started, metrics });
  } finally {
    await Promise.all(children.map(end));
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What a program printed that matches. */
function output(child, pattern) {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
      const match = pattern.exec(text);
      if (match) resolve(match);
    });
    child.on('exit', (code) => reject(new Error(`the demonstration ended with ${code} and had printed: ${text}`)));
    child.on('error', reject);
  });
}

/** Keeps the present forecast as that of an hour (seconds), as the pipeline does at the end of one. */
async function setForecastAside({ url, name }, instant) {
  await execute(
    url,
    name,
    `INSERT INTO hourly SELECT epoch, series, grain, dimension, pane, value, currency, shard, toStartOfHour(toDateTime(${Math.floor(instant)}, 'UTC')), counts, sums, sketch, version
     FROM rollups FINAL WHERE series = 'forecast.open'`,
  );
}

/** Waits until the organisation's clock has come to today: its days so far, by watermark, as the lines of /metrics that are to be kept. */
async function untilToday(page, catchUpDays, atDay) {
  const days = new Map();
  let last = -Infinity;
  const caughtUp = async () => {
    const text = await (await fetch(`${page}/metrics`)).text();
    const watermark = Number(/^dealpulse_watermark_timestamp_seconds (\S+)$/m.exec(text)?.[1] ?? NaN);
    const age = Date.now() / 1000 - watermark;
    if (watermark - last >= DAY && age > DAY / 10 && age < catchUpDays * DAY) {
      last = watermark;
      days.set(watermark, text.split('\n').filter((line) => ofThePast.test(line)));
      await atDay(watermark);
    }
    return age < 300;
  };
  await until('the organisation has caught up with today', caughtUp, 600);
  return days;
}

/** Days as OpenMetrics, which wants one metric after the other. The labels are those a scrape adds, so that past and present are one series. */
function openMetrics(days, instance) {
  const byName = new Map();
  for (const [day, lines] of days) {
    for (const line of lines) {
      const name = line.slice(0, line.indexOf('{'));
      if (!byName.has(name)) byName.set(name, [`# TYPE ${name} gauge`]);
      byName.get(name).push(`${line.replace('{', `{instance="${instance}",job="dealpulse",`)} ${day}`);
    }
  }
  return `${[...byName.values()].flat().join('\n')}\n# EOF\n`;
}

const configuration = (target) => `global: { scrape_interval: ${SCRAPE_SECONDS}s, evaluation_interval: ${SCRAPE_SECONDS}s }
rule_files: [alerts.yml]
scrape_configs:
  - job_name: dealpulse
    static_configs: [{ targets: ['${target}'] }]
`;

/** One alert of each kind of annotation that fires always. */
const alerts = `groups:
  - name: always
    rules:
      - { alert: WinRateDropped, expr: vector(1) }
      - { alert: DataOld, expr: vector(1) }
`;

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function until(what, isSo, seconds) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    if (await isSo().catch(() => false)) return;
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain until ${what}`);
    await sleep(500);
  }
}

async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.on('exit', resolve));
  child.kill('SIGTERM');
  await Promise.race([ended, sleep(20_000).then(() => child.kill('SIGKILL'))]);
}
