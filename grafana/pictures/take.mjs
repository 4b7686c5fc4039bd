// Photographs of the dashboards: each is drawn by the page in src/ from its JSON and real answers, and photographed by headless Chromium.

import { execFile, spawn } from 'node:child_process';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { withData } from '../generator/src/query/dashboard.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = join(root, 'grafana/pictures/dist');
const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.woff2': 'font/woff2' };

/** Pixels of the grid in src/main.jsx. */
const WIDTH = 24 * 72 + 8;
const height = (rows) => 84 + rows * 38 + 8;
const rowsOf = (dashboard) => Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));

/**
 * @param {string} uid
 * @param {import('../generator/src/query/dashboard.mjs').Engines} engines
 * @param {{ from?: string, variables?: Record<string, string> }} options
 * @param {Record<string, number | undefined>} files names of pictures, and how many rows of the grid each shows: without a number all
 */
export async function photograph(uid, engines, options, files) {
  const dashboard = JSON.parse(readFileSync(join(root, `grafana/dashboards/${uid}.json`), 'utf8'));
  const { scope, panels, rows } = await withData(dashboard, engines, options);
  const variables = dashboard.templating.list.map(({ name, label }) => [label ?? name, [scope.variables[name]].flat().join(' + ')]);
  const data = JSON.stringify({ dashboard, panels, rows, variables, from: scope.from, to: scope.to });
  const server = createServer((request, response) => {
    const name = new URL(request.url, 'http://localhost').pathname;
    response.setHeader('Content-Type', types[extname(name) || '.html'] ?? 'application/octet-stream');
    if (name === '/data.json') return response.end(data);
    const file = join(page, name === '/' ? 'index.html' : name);
    if (!file.startsWith(page) || !existsSync(file)) return response.writeHead(404).end();
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    for (const [name, rows] of Object.entries(files)) {
      const picture = join(root, `docs/pictures/${name}.png`);
      await drawn([
        '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--virtual-time-budget=20000',
        `--window-size=${WIDTH},${height(rows ?? rowsOf(dashboard))}`, `--screenshot=${picture}`, `http://127.0.0.1:${server.address().port}/`,
      ]);
      // 256 colours are enough, and a third of the size.
      await promisify(execFile)('pngquant', ['--force', '--strip', '--nofs', '--output', picture, picture]);
      console.log(picture);
    }
  } finally {
    server.close();
  }
}

/** On a busy machine Chromium now and then waits for ever for its virtual time to pass: it is given a minute, and three tries. */
async function drawn(options, tries = 3) {
  // A group of its own, which ends as a whole.
  const chromium = spawn('chromium', options, { stdio: 'ignore', detached: true });
  const impatient = setTimeout(() => process.kill(-chromium.pid, 'SIGKILL'), 60_000);
  const code = await new Promise((resolve, reject) => chromium.on('exit', resolve).on('error', reject));
  clearTimeout(impatient);
  if (code === 0) return;
  if (tries === 1) throw new Error(`chromium ended with ${code}`);
  await drawn(options, tries - 1);
}
