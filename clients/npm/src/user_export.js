/** The history of one user as JSON text: what the SDK in Python writes with `export_user` and reads. */

import { checkName, shown } from "./names.js";
import { EARLIEST_S, LATEST_S, checkOffset } from "./moments.js";

const FORMAT = "edgebehave user history";
const VERSION = 1;
const FIELDS = ["event", "location", "time_s", "utc_offset_min"];

/** { events, count } as ASCII text, one event a line, byte for byte that of the SDK. */
export function writeUser({ events, count }) {
  const lines = events.map(
    ({ event, location, at, utcOffsetMin }) =>
      `{"event": ${quoted(event)}, "location": ${location === null ? "null" : quoted(location)}, ` +
      `"time_s": ${at}, "utc_offset_min": ${utcOffsetMin}}`,
  );
  const head = `"format": "${FORMAT}", "version": ${VERSION}, "num_events": ${count}`;
  return `{${head}, "events": [\n${lines.join(",\n")}\n]}\n`;
}

const quoted = (text) =>
  JSON.stringify(text).replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** { events, count } from such text. Throws an Error that says where it differs. */
export function readUser(text) {
  const fields = JSON.parse(text);
  if (fields?.format !== FORMAT) throw new Error(`the data is JSON, but not of the format "${FORMAT}"`);
  if (fields.version !== VERSION) {
    throw new Error(`the data is of version ${shown(fields.version)}, this edgebehave reads ${VERSION}`);
  }
  const { events: rows, num_events: count } = fields;
  if (!Array.isArray(rows) || rows.length === 0) throw new Error("events must be a list of at least one event");
  if (!Number.isSafeInteger(count) || count < rows.length) {
    throw new Error(`num_events must be an integer, at least the ${rows.length} events there are, got ${shown(count)}`);
  }
  const events = rows.map((row, number) => {
    try {
      return checked(row);
    } catch (error) {
      throw new Error(`event ${number} of the data: ${error.message}`);
    }
  });
  if (events.some(({ at }, i) => i > 0 && at < events[i - 1].at)) {
    throw new Error("events are not in the order of time");
  }
  return { events, count };
}

function checked(row) {
  const names = Object.keys(row ?? {});
  if (names.length !== FIELDS.length || !FIELDS.every((name) => names.includes(name))) {
    throw new Error(`expected an object of ${FIELDS.join(", ")}`);
  }
  const { location, time_s: at } = row;
  if (!Number.isInteger(at) || at < EARLIEST_S || at >= LATEST_S) {
    throw new Error(`time_s must be whole seconds in 1990..2100, got ${shown(at)}`);
  }
  return {
    event: checkName(row.event, "event"),
    location: location === null ? null : checkName(location, "location"),
    at,
    utcOffsetMin: checkOffset(row.utc_offset_min),
  };
}
