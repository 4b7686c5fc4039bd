// `make pictures`: docs/pictures/ anew, of a demonstration that runs for it. `node main.mjs COMMAND…`, which runs dealpulse.

import { withDemo } from '../generator/src/engines/demo.mjs';
import { photograph } from './take.mjs';

const organisation = { command: process.argv.slice(2), historyDays: 400, catchUpDays: 120, recorded: true, dealsPerDay: 30, speed: 8, scrapes: 5 };

await withDemo(organisation, async (engines) => {
  const minutes = Math.floor((engines.now - engines.started) / 60_000);
  await photograph('dealpulse-director', engines, { from: 'now-120d' }, { director: undefined, 'director-top': 30 });
  await photograph('dealpulse-rep', engines, { from: 'now-120d' }, { rep: undefined });
  await photograph('dealpulse-metric', engines, {}, { metric: undefined });
  // As long as it has been scraped.
  await photograph('dealpulse-pipeline', engines, { from: `now-${minutes}m` }, { pipeline: undefined });
});
