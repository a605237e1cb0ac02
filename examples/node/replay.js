/**
 * Replay a log event by event and print the predictions before each, and the event itself.
 *
 *     npm ci --ignore-scripts
 *     node replay.js LOG.csv [BUNDLE] [--user NAME]
 *
 * LOG.csv has a header with the columns user, time (unix seconds) and event, optionally location and
 * utc_offset_min, and is in the order of time; BUNDLE is from `edgebehave export --target web`.
 * Without it habits alone predict. Every event is new to the predictor when it is predicted.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openBundle, Predictor } from "edgebehave";
import * as ort from "onnxruntime-node";

/** Rows of a CSV file as objects; fields may be quoted. */
function rowsOf(text) {
  const [header, ...rows] = text.trimEnd().split(/\r?\n/).map((line) =>
    Array.from(line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g), ([, quoted, plain]) =>
      quoted === undefined ? plain : quoted.replaceAll('""', '"'),
    ),
  );
  return rows.map((row) => Object.fromEntries(header.map((name, i) => [name, row[i]])));
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { user: { type: "string" } },
});
const [log, folder] = positionals;
if (log === undefined) {
  console.error("usage: node replay.js LOG.csv [BUNDLE] [--user NAME]");
  process.exit(2);
}
const bundle = folder && (await openBundle(ort, (name) => readFile(join(folder, name))));
const rows = rowsOf(await readFile(log, "utf8"));
const user = values.user ?? rows[0].user;
const predictor = new Predictor(bundle ?? null);
const { eventId, eventToBehavior, behaviors } = bundle?.vocabulary ?? { eventId: () => 0 };
let asked = 0;
let hits = 0;
for (const row of rows.filter((one) => one.user === user)) {
  const at = Number(row.time);
  const utcOffsetMin = Number(row.utc_offset_min ?? 0);
  const id = eventId(row.event);
  const came = id ? behaviors[eventToBehavior[id]] : row.event;
  if (came !== undefined && predictor.history.count > 0) {
    const best = await predictor.predict({ k: 3, at, utcOffsetMin });
    const shown = best.map(({ behavior, probability }) => `${behavior} ${probability.toFixed(2)}`);
    console.log(`${new Date(1000 * at).toISOString()}  ${shown.join(", ")}  ->  ${came}`);
    asked += 1;
    hits += best[0]?.behavior === came ? 1 : 0;
  }
  predictor.observe(row.event, { at, utcOffsetMin, location: row.location || null });
}
console.log(`${user}: ${hits} of ${asked} predicted first`);
