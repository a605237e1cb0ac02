/**
 * Logs that people have, read in the browser alone: CSV, ActivityWatch, My Activity and Chrome of Takeout.
 *
 *     const log = await openLog(file);                        // { title, users, ... } or { title, table }
 *     const users = await usersOfTable(log.table, { time: "when", event: "app" });
 *
 * The rules are those of `edgebehave ingest --timezone ZONE` with the zone of this browser; only a table
 * whose times carry offsets of their own keeps them, as without the option. Not read here: Parquet,
 * SQLite, HTML, zip, dates in other forms than ISO 8601.
 */

import { breathe } from "./asked_before_told.js";

const MAX_BYTES = 256 * 2 ** 20; // more does not fit into one text
const EARLIEST_US = 631152000e6; // 1990
const LATEST_US = 4102444800e6; // 2100
const Y2001_US = 978307200e6; // numbers that are unix times before it are Apple's more often
const MAX_OFFSET_MIN = 840;
const NO_NAME = "<unknown>"; // stands for no name in a vocabulary
const MAX_QUOTED = 2 ** 20; // characters; a longer cell has a quote that was never closed
const TO_US = { s: 1e6, ms: 1e3, us: 1, ns: 1e-3 };
const ISO =
  /^(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)? ?(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$/;
const ADDRESS = /^(?:https?|ftp):\/\/(?:[^/?#@]*@)?(\[[^\]/?#]*\]|[^/?#:[\]\s\\]+)/i;

/** Names of columns that are taken unasked, the likeliest first. */
const COLUMNS = {
  time: ["time", "timestamp", "ts", "datetime", "start", "starttime", "begin", "when", "date", "createdat"],
  event: [
    ...["event", "eventname", "app", "appname", "application", "action", "behavior"],
    ...["activity", "name", "page", "title"],
  ],
  user: ["user", "userid", "uid", "username", "person", "deviceid", "device"],
  location: ["location", "place", "venue", "where"],
  offset: ["utcoffsetmin"],
};

/** A file that cannot be read here; the message says why and what to do. */
export class LogError extends Error {}

/**
 * Open a file.
 *
 * file  a File or Blob with a name.
 * Returns { title, used, users, leftOut, hasOwnZone }, or { title, table: { columns, rows, guess } } where columns must
 * be known first. `users` is Map(name => events in the order of time), the largest first; an event is
 * { event, location, at, utcOffsetMin }; leftOut is Map(reason => rows);
 * hasOwnZone: local times are those of the log, else those of this browser.
 * Throws a LogError.
 */
export async function openLog(file) {
  if (file.size === 0) throw new LogError(`${file.name} is empty`);
  if (file.size > MAX_BYTES) {
    throw new LogError(`${file.name} has more than 256 MiB; the command "edgebehave demo" reads files of any size`);
  }
  const text = await textOf(file);
  const start = text.slice(0, 1000).trimStart();
  if (/^<(!doctype|html)/i.test(start)) {
    throw new LogError(`${file.name} is HTML; choose JSON for My Activity in Google Takeout`);
  }
  if (start[0] !== "{" && start[0] !== "[") return openTable(file.name, await recordsOf(text));
  return openJson(file.name, jsonOf(file.name, text));
}

async function textOf(file) {
  const magic = new Uint8Array(await file.slice(0, 16).arrayBuffer());
  const isAt = (...bytes) => bytes.every((byte, i) => magic[i] === byte);
  const begins = (word) => isAt(...new TextEncoder().encode(word));
  const refuse = (why) => {
    throw new LogError(`${file.name} is ${why}`);
  };
  if (begins("PK\x03\x04")) refuse("a zip or a workbook; unpack it, and open the file in it");
  if (begins("SQLite format 3")) refuse('a database; "edgebehave demo" reads those, this page not');
  if (begins("PAR1")) refuse('Parquet; "edgebehave demo" reads it, this page not');
  let content = file;
  if (isAt(0x1f, 0x8b)) {
    const unpacked = new Response(file.stream().pipeThrough(new DecompressionStream("gzip")));
    content = await unpacked.blob().catch(() => {
      throw new LogError(`${file.name} is damaged: its gzip compression cannot be undone`);
    });
    if (content.size > MAX_BYTES) throw new LogError(`${file.name} holds more than 256 MiB`);
  }
  const bytes = new Uint8Array(await content.arrayBuffer());
  const text = decoded(bytes);
  if (text === null) refuse("neither UTF-8 nor UTF-16; save it as UTF-8");
  if (text.slice(0, 1000).includes("\0")) throw new LogError(`${file.name} is no text`);
  return text;
}

function decoded(bytes) {
  const encoding = { "255,254": "utf-16le", "254,255": "utf-16be" }[bytes.subarray(0, 2).join()] ?? "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

function jsonOf(name, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    try {
      return text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line)); // JSON Lines
    } catch {
      throw new LogError(`${name} is no readable JSON: ${error.message}`);
    }
  }
}

async function openJson(name, content) {
  const isList = Array.isArray(content);
  const first = isList ? content[0] : null;
  const has = (...keys) => isObject(first) && keys.every((key) => key in first);
  if (has("user", "time", "event")) return openTable(name, recordsOfObjects(content));
  const buckets = isList ? null : content.buckets;
  if (isObject(buckets)) return activityWatch(name, Object.values(buckets).filter(isObject));
  if (has("timestamp", "duration", "data")) return activityWatch(name, [{ events: content }]);
  if (has("header", "title", "time")) return googleActivity(name, content);
  const visits = isList ? content : content["Browser History"];
  if (Array.isArray(visits) && isObject(visits[0]) && "url" in visits[0] && "time_usec" in visits[0]) {
    return chromeTakeout(name, visits);
  }
  if (isObject(first)) return openTable(name, recordsOfObjects(content));
  throw new LogError(
    `${name} is JSON of an unknown kind; this page reads exports of ActivityWatch, My Activity and Chrome of Google ` +
      "Takeout, and lists of objects",
  );
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// Exports

/** The app in the foreground without the time away from keyboard; the domain, if only a browser is watched. */
async function activityWatch(name, buckets) {
  const found = buckets.map((bucket) => ({
    bucket,
    events: Array.isArray(bucket.events) ? bucket.events.filter(isObject) : [],
  }));
  const away = spansAway(found);
  for (const [key, used] of [["app", "apps in the foreground"], ["url", "domains of the browser"]]) {
    let chosen = found.filter(({ events }) => events.some((event) => key in dataOf(event)));
    if (key === "app") {
      // Editors name the app too, but the window watcher sees every app.
      const windows = chosen.filter(({ bucket }) => [undefined, null, "currentwindow"].includes(bucket.type));
      if (windows.length > 0) chosen = windows;
    }
    if (chosen.length > 0) return activityWatchEvents(name, chosen, away, used);
  }
  throw new LogError(
    `${name} is an ActivityWatch export without events of windows or browsers; export the bucket ` +
      "aw-watcher-window, or all of them",
  );
}

async function activityWatchEvents(name, chosen, away, used) {
  const reading = new Reading();
  for (const { bucket, events } of chosen) {
    const spans = away.get(bucket.hostname ?? null) ?? [];
    for (const event of events) {
      await reading.pause();
      const { app, url } = dataOf(event);
      const us = microsecondsOfIso(event.timestamp);
      const what = app || domainOf(url);
      if (!what || us === null) reading.leaveOut("without an app, a domain or a time");
      else if (isWithin(spans, us)) reading.leaveOut("while away from keyboard");
      else reading.add("me", us, String(what));
    }
  }
  return reading.finish(name, "an ActivityWatch export", used);
}

const dataOf = (event) => (isObject(event.data) ? event.data : {});

/** Map(host => [[start, end], ...] in microseconds), in order and apart. */
function spansAway(found) {
  const spans = new Map();
  for (const { bucket, events } of found) {
    for (const event of events) {
      const start = dataOf(event).status === "afk" ? microsecondsOfIso(event.timestamp) : null;
      if (start === null) continue;
      const host = bucket.hostname ?? null;
      if (!spans.has(host)) spans.set(host, []);
      spans.get(host).push([start, start + Math.trunc(1e6 * (Number(event.duration) || 0))]);
    }
  }
  for (const [host, ofHost] of spans) {
    const kept = [];
    for (const [start, end] of ofHost.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
      if (kept.length && start <= kept.at(-1)[1]) kept.at(-1)[1] = Math.max(end, kept.at(-1)[1]);
      else kept.push([start, end]);
    }
    spans.set(host, kept);
  }
  return spans;
}

function isWithin(spans, us) {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle][0] <= us) low = middle + 1;
    else high = middle;
  }
  return low > 0 && us < spans[low - 1][1];
}

async function googleActivity(name, activities) {
  const reading = new Reading();
  for (const activity of activities) {
    await reading.pause();
    const title = isObject(activity) ? activity.title : null;
    const us = typeof title === "string" && title ? microsecondsOfIso(activity.time) : null;
    if (us === null) reading.leaveOut("without a title or a time");
    else reading.add("me", us, title);
  }
  return reading.finish(name, "My Activity of Google Takeout", "titles of activities");
}

async function chromeTakeout(name, visits) {
  const reading = new Reading();
  for (const visit of visits) {
    await reading.pause();
    const domain = domainOf(visit?.url);
    if (["AUTO_SUBFRAME", "MANUAL_SUBFRAME", "KEYWORD_GENERATED"].includes(visit?.page_transition)) {
      reading.leaveOut("frames of pages");
    } else if (domain === null) reading.leaveOut("not of the web");
    else reading.add("me", Math.trunc(Number(visit.time_usec)), domain);
  }
  return reading.finish(name, "Chrome's history of Google Takeout", "domains of visits");
}

function domainOf(url) {
  const found = typeof url === "string" ? ADDRESS.exec(url) : null;
  return found?.[1].toLowerCase().replace(/^\[|\]$/g, "") || null;
}

// Tables

/** Records of a CSV: lists of cells, the header first. Comments and a line `sep=;` before it are passed over. */
async function recordsOf(text) {
  let at = 0;
  let delimiter = null;
  for (;;) {
    const end = text.indexOf("\n", at);
    const line = text.slice(at, end < 0 ? text.length : end).trim();
    const separator = /^"?sep=(.)"?$/i.exec(line);
    if (separator) delimiter = separator[1];
    else if (line !== "" && !line.startsWith("#")) {
      delimiter ??= [",", ";", "\t", "|"].reduce((a, b) => (count(line, b) > count(line, a) ? b : a));
      break;
    }
    if (end < 0) return [];
    at = end + 1;
  }
  const records = [];
  let record = [];
  const special = new RegExp(`[\r\n"${delimiter === "|" ? "\\|" : delimiter}]`, "g");
  while (at < text.length) {
    let cell;
    if (text[at] === '"') {
      let end = at + 1;
      for (;;) {
        end = text.indexOf('"', end);
        if (end < 0 || end - at > MAX_QUOTED) {
          throw new LogError(`record ${records.length + 1} has a quote that is never closed`);
        }
        if (text[end + 1] !== '"') break;
        end += 2;
      }
      cell = text.slice(at + 1, end).replaceAll('""', '"');
      at = end + 1;
    } else {
      special.lastIndex = at;
      let found = special.exec(text);
      while (found && found[0] === '"') found = special.exec(text); // a quote inside of a cell is a letter
      const end = found ? found.index : text.length;
      cell = text.slice(at, end);
      at = end;
    }
    record.push(cell);
    if (text[at] === delimiter) {
      at += 1;
      if (at < text.length && text[at] !== "\r" && text[at] !== "\n") continue;
      record.push("");
    }
    if (text[at] === "\r") at += 1;
    if (text[at] === "\n") at += 1;
    if (record.length > 1 || record[0].trim() !== "") records.push(record);
    record = [];
    if (records.length % 20000 === 0) await breathe();
  }
  return records;
}

const count = (text, part) => text.split(part).length;

function recordsOfObjects(objects) {
  const columns = Object.keys(objects[0]);
  const cell = (value) => (typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? ""));
  return [columns, ...objects.map((object) => columns.map((column) => cell(object?.[column])))];
}

const plainName = (name) => name.replace(/[\s_]+/g, "").toLowerCase();

function openTable(name, [columns, ...rows]) {
  if (columns === undefined || columns.length < 2 || rows.length === 0) {
    throw new LogError(`${name} is no table with a header and rows, and no export that this page knows`);
  }
  const plain = columns.map(plainName);
  if (["timestamp", "duration", "app"].every((column) => plain.includes(column)) && !plain.includes("user")) {
    const [time, app] = [plain.indexOf("timestamp"), plain.indexOf("app")];
    const events = rows.map((row) => ({ timestamp: row[time], data: { app: row[app] } }));
    return activityWatchEvents(name, [{ bucket: {}, events }], new Map(), "apps in the foreground");
  }
  const guess = {};
  for (const [role, names] of Object.entries(COLUMNS)) {
    const found = names.find((column) => plain.includes(column));
    guess[role] = found === undefined ? null : columns[plain.indexOf(found)];
  }
  return { title: "a table", table: { name, columns, rows, guess } };
}

/**
 * The users of a table.
 *
 * columns  names of the columns { time, event, user, location, offset }; the last three may be null.
 * Returns and throws as `openLog`.
 */
export async function usersOfTable({ name, columns, rows }, wanted) {
  const where = Object.fromEntries(Object.entries(wanted).map(([role, column]) => [role, columns.indexOf(column)]));
  for (const role of ["time", "event"]) {
    if (!(where[role] >= 0)) throw new LogError(`say which column of ${name} holds the ${role}`);
  }
  const toTime = timeReader(rows.map((row) => row[where.time] ?? ""), wanted.time, name);
  const cell = (row, role) => {
    const text = where[role] >= 0 ? row[where[role]] : "";
    return text.trim() === "" ? null : text;
  };
  const isMoment = where.offset >= 0;
  const reading = new Reading();
  for (const row of rows) {
    await reading.pause();
    if (row.length !== columns.length) {
      reading.leaveOut("with more or fewer cells than the header");
      continue;
    }
    const time = toTime(row[where.time]);
    const user = where.user >= 0 ? cell(row, "user") : "me";
    const event = cell(row, "event");
    const location = cell(row, "location");
    const offset = isMoment ? Number(cell(row, "offset") ?? NaN) : time?.offset;
    if (user === null) reading.leaveOut("without a user");
    else if (time === null) reading.leaveOut("without a time that can be read");
    else if (event === null || event === NO_NAME) reading.leaveOut("without an event");
    else if (isMoment && !Number.isInteger(offset)) reading.leaveOut("without a readable offset");
    else reading.add(user, time.us, event, location === NO_NAME ? null : location, offset);
  }
  return reading.finish(name, "a table", `column "${wanted.event}"`);
}

/** (cell) => { us, offset } or null, in the one form that most times of a column have. */
function timeReader(cells, column, name) {
  const uses = new Map();
  let hasOffsets = false;
  for (const cell of cells) {
    const text = cell.trim();
    if (text === "") continue;
    const zone = ISO.exec(text)?.[8];
    if (zone && /[1-9]/.test(zone)) hasOffsets = true;
    const kind = unitOf(text) ?? (ISO.test(text) ? (zone ? "iso" : "iso_local") : "other");
    uses.set(kind, (uses.get(kind) ?? 0) + 1);
  }
  const [kind] = [...uses].reduce((a, b) => (b[1] > a[1] ? b : a), ["other", 0]);
  if (kind === "other") {
    const shown = cells.find((cell) => cell.trim() !== "") ?? "";
    throw new LogError(
      `times of the column "${column}" of ${name}, as "${shown.slice(0, 40)}", cannot be read here; this page ` +
        'reads unix times and ISO 8601 (2026-03-02T08:00:00), "edgebehave demo" many more',
    );
  }
  if (kind in TO_US) {
    if (cells.every((cell) => unitOf(cell.trim()) === null || Number(cell) * TO_US[kind] < Y2001_US)) {
      throw new LogError(
        `times of the column "${column}" of ${name} are unix times before 2001 or Apple's; ` +
          '"edgebehave demo" tells them apart',
      );
    }
    return (cell) => (unitOf(cell.trim()) === kind ? { us: Math.trunc(Number(cell) * TO_US[kind]) } : null);
  }
  return (cell) => {
    const zone = ISO.exec(cell.trim())?.[8];
    const us = microsecondsOfIso(cell, "local");
    if (us === null || (zone === undefined) !== (kind === "iso_local")) return null;
    return { us, offset: hasOffsets ? minutesOf(zone) : undefined };
  };
}

/** The unit of a unix time, told by its magnitude; null for other texts. */
function unitOf(text) {
  if (!/^\d+(\.\d*)?$/.test(text)) return null;
  const isTime = ([, us]) => Number(text) * us >= EARLIEST_US && Number(text) * us < LATEST_US;
  return Object.entries(TO_US).find(isTime)?.[0] ?? null;
}

// Times

const minutesOf = (zone) => {
  const found = /^([+-])(\d{2}):?(\d{2})?$/.exec(zone ?? "");
  return found ? (found[1] === "-" ? -1 : 1) * (60 * Number(found[2]) + Number(found[3] ?? 0)) : 0;
};

/** Unix microseconds of ISO 8601, null if it is none. zoneless: "utc", or "local" for the clock of this browser. */
function microsecondsOfIso(text, zoneless = "utc") {
  const found = ISO.exec(String(text).trim());
  if (found === null) return null;
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map((part) => Number(part ?? 0));
  const clock = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const isClock = hour < 24 && minute < 60 && second < 60;
  if (clock.getUTCMonth() !== month - 1 || clock.getUTCDate() !== day || !isClock) return null;
  const fraction = Number((found[7] ?? "").padEnd(6, "0").slice(0, 6));
  let seconds = clock.getTime() / 1000 - 60 * minutesOf(found[8]);
  if (found[8] === undefined && zoneless === "local") {
    const moment = new Date(year, month - 1, day, hour, minute, second);
    const later = new Date(moment.getTime() + 3600e3); // of an hour that comes twice the later one
    seconds = (later.getHours() === moment.getHours() ? later : moment).getTime() / 1000;
  }
  return 1e6 * seconds + fraction;
}

/** Events of users as they are read. */
class Reading {
  #users = new Map();
  #leftOut = new Map();
  #hasOwnZone = false;
  #sliceEnds = performance.now() + 30;
  #times = 0;

  /** Between two rows: lets the page draw now and then. */
  async pause() {
    this.#times += 1;
    if (this.#times % 500 !== 0 || performance.now() < this.#sliceEnds) return;
    await breathe();
    this.#sliceEnds = performance.now() + 30;
  }

  leaveOut(reason) {
    this.#leftOut.set(reason, (this.#leftOut.get(reason) ?? 0) + 1);
  }

  /** us: unix microseconds; offset: minutes to add for local time, undefined: that of this browser. */
  add(user, us, event, location = null, offset = undefined) {
    if (!(us >= EARLIEST_US && us < LATEST_US)) return this.leaveOut("with a time outside 1990 to 2099");
    if (offset !== undefined) this.#hasOwnZone = true;
    const utcOffsetMin = offset ?? -new Date(us / 1000).getTimezoneOffset();
    if (Math.abs(utcOffsetMin) > MAX_OFFSET_MIN) return this.leaveOut("without a readable offset");
    if (!this.#users.has(user)) this.#users.set(user, []);
    this.#users.get(user).push({ us, event, location, utcOffsetMin: Math.round(utcOffsetMin) });
  }

  finish(name, title, used) {
    if (this.#users.size === 0) {
      const why = [...this.#leftOut].map(([reason, rows]) => `${rows} ${reason}`).join(", ");
      throw new LogError(`${name} is ${title}, but holds no event that can be used${why && `; left out: ${why}`}`);
    }
    const users = [...this.#users].map(([user, events]) => [user, inOrder(events)]);
    users.sort((a, b) => b[1].length - a[1].length);
    return { title, used, users: new Map(users), leftOut: this.#leftOut, hasOwnZone: this.#hasOwnZone };
  }
}

/** In the order of time, ties in the order of the file, backwards if it has the newest first; equal rows are one. */
function inOrder(events) {
  const isNewestFirst = events.length > 1 && events.every((event, i) => i === 0 || event.us <= events[i - 1].us);
  const ordered = (isNewestFirst ? events.reverse() : events).sort((a, b) => a.us - b.us);
  const kept = [];
  let seen = new Set(); // of one moment
  ordered.forEach(({ us, event, location, utcOffsetMin }, i) => {
    if (i > 0 && us !== ordered[i - 1].us) seen = new Set();
    const row = JSON.stringify([event, location]);
    if (seen.has(row)) return;
    seen.add(row);
    kept.push({ event, location, at: Math.floor(us / 1e6), utcOffsetMin });
  });
  return kept;
}
