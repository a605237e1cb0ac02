/**
 * On-device next-behavior prediction: observe what a user does, predict what comes next.
 *
 *     const bundle = await openBundle(ort, name => fetch(`bundle/${name}`).then(bytes));
 *     const predictor = new Predictor(bundle);           // or new Predictor(): habits alone
 *     predictor.observe("camera.open", { location: "home" });
 *     for (const { behavior, probability } of await predictor.predict({ k: 3 })) ...
 *
 * One predictor is one user. It runs bundles from `edgebehave export --target web`, and universal
 * bundles, in a browser or in Node, with the ONNX Runtime that it is given, and answers what the SDK
 * in Python answers. All state is a function of the retained events: store `history`, pass it to the
 * next `Predictor`.
 *
 * Letters in comments: L layers, D width, C cached events, V behaviors, U spare slots.
 */

import { NO_VOCABULARY, UNKNOWN } from "./bundle.js";
import { habitsAlone } from "./habits.js";
import { dayAndSecond } from "./moments.js";

const NO_BEHAVIOR = -1; // of an event that is input only
const HABIT_EVENTS = 512; // events kept without a bundle
const FIRST_OWN_LOCATION = 2 ** 31; // id of the first location that a vocabulary lacks
const EARLIEST_S = 631152000; // 1990: a time before it comes from a clock that was never set
const LATEST_S = 4102444800; // 2100: seconds below cannot be taken for milliseconds

/** Inputs of predict.onnx that a client may leave at a default, where a bundle has them. */
const OPTIONAL_INPUTS = {
  tail: (ort) => new ort.Tensor("float32", Float32Array.of(0), []),
};

/** Predictions for one user. */
export class Predictor {
  #bundle;
  #vocabulary;
  #capacity;
  #events = []; // { event, location, at, utcOffsetMin }, oldest first
  #count = 0; // events ever observed
  #state = null; // { numSeen, hidden, cache } of the network, or { numSeen, rows } of the universal
  // model; null: to be made from the events
  #pastChanges = 0; // how often the state became wrong
  #running = Promise.resolve(); // predictions run one after the other

  /**
   * bundle   from `openBundle`; null: habits alone predict, from the first event on.
   * history  what `history` of an earlier predictor was.
   */
  constructor(bundle = null, history = { events: [], count: 0 }) {
    this.#bundle = bundle;
    this.#vocabulary = bundle?.vocabulary ?? NO_VOCABULARY;
    const shape = bundle?.shape ?? bundle?.universal;
    this.#capacity = shape?.history_events ?? HABIT_EVENTS;
    this.#events = history.events.slice(-this.#capacity);
    this.#count = Math.max(history.count, history.events.length);
  }

  /** The retained events, as plain data, and how many there ever were. */
  get history() {
    return { events: this.#events.slice(), count: this.#count };
  }

  /**
   * Take note of an event; the network runs when asked to predict.
   *
   * at            when: a Date or unix seconds. Late events go to their position in time.
   * location      where; null: none.
   * utcOffsetMin  minutes to add for local time; default: the system's for a Date, that of the
   *               latest event for a number.
   * Returns the event as it is retained. Throws a TypeError or RangeError and notes nothing.
   */
  observe(event, { at = new Date(), location = null, utcOffsetMin = null } = {}) {
    checkName(event, "event");
    if (location !== null) checkName(location, "location");
    const noted = { event, location, ...this.#moment(at, utcOffsetMin) };
    this.#count += 1;
    let position = this.#events.length;
    while (position > 0 && this.#events[position - 1].at > noted.at) position -= 1;
    if (position < this.#events.length) this.#startAnew();
    this.#events.splice(position, 0, noted);
    if (this.#events.length > this.#capacity) this.#events.shift();
    return noted;
  }

  /** Drop everything about the user. */
  forget() {
    this.#events = [];
    this.#count = 0;
    this.#startAnew();
  }

  #startAnew() {
    this.#state = null;
    this.#pastChanges += 1;
  }

  /**
   * The k most probable next behaviors, best first: [{ behavior, probability }, ...]. Events that
   * come while the graphs run count for the next prediction.
   *
   * at            the moment to predict for, as in `observe`; null: not known.
   * location      the location to predict for, for bundles with query_context "time_location".
   */
  async predict({ k = 5, at = new Date(), location = null, utcOffsetMin = null } = {}) {
    const moment = at === null ? null : this.#moment(at, utcOffsetMin);
    const question = {
      ...this.#pastBehaviors(),
      events: this.#events.slice(),
      count: this.#count,
      pastChanges: this.#pastChanges,
      moment,
      location,
    };
    const asked = this.#running.then(() => this.#answer(question));
    this.#running = asked.catch(() => {}); // one failure is not that of the next
    const { names } = question;
    const probs = await asked;
    const best = [...probs.keys()].sort((a, b) => probs[b] - probs[a] || a - b);
    return best.slice(0, k).map((i) => ({ behavior: names[i], probability: probs[i] }));
  }

  /** Probabilities of the candidates; the universal model's are the first of them. */
  async #answer(question) {
    const { past, names, events, moment, location } = question;
    if (this.#bundle === null) return habitsAlone(past, names.length, moment);
    if (this.#bundle.universal) return this.#universal(question);
    const { shape, classPriors, ort, predict } = this.#bundle;
    if (events.length === 0 || (shape.habits && past.length === 0)) return classPriors.slice(1);
    const inputs = {
      hidden: new ort.Tensor("float32", await this.#hidden(question), [1, shape.width]),
      time_s: int64s(ort, [moment?.at ?? 0]),
      utc_offset_min: int64s(ort, [moment?.utcOffsetMin ?? 0]),
      time_known: int64s(ort, [moment === null ? 0 : 1]),
      location: int64s(ort, [this.#vocabulary.locationId(location)]),
      history: historyTensor(ort, past),
    };
    const feeds = {};
    for (const name of predict.inputNames) feeds[name] = inputs[name] ?? OPTIONAL_INPUTS[name](ort);
    const { probs } = await predict.run(feeds);
    return probs.data.subarray(1, 1 + names.length); // id 0 is the unknown behavior
  }

  /**
   * The universal model's probabilities of the names used within reach, the most recent first;
   * what is missing to 1 is that of any other name.
   */
  async #universal(question) {
    const { past, moment, count, pastChanges } = question;
    if (past.length === 0) return [];
    const first = count - Math.min(past.length, this.#bundle.universal.success_events);
    // `rows` are the rows of success of the events before number `numSeen`, the latest last.
    let { numSeen, rows } = this.#state ?? { numSeen: first, rows: [] };
    if (numSeen < first) [numSeen, rows] = [first, []];
    this.#state = null; // until it has advanced
    for (; numSeen < count - 1; numSeen += 1) {
      const end = past.length - (count - numSeen) + 1;
      rows = [...rows, (await this.#look(past.slice(0, end), rows, null)).row];
    }
    const { probs, row } = await this.#look(past, rows.slice(0, rows.length - (numSeen - count + 1)), moment);
    if (numSeen < count) rows = [...rows, row];
    // Not if the past has changed since the question was asked.
    const kept = rows.slice(-this.#bundle.universal.success_events);
    if (pastChanges === this.#pastChanges) this.#state = { numSeen: count, rows: kept };
    return probs.subarray(0, -1);
  }

  /**
   * One run of the graph of the universal model.
   *
   * past    at least one event; names and locations are numbers of which only the identity matters.
   * rows    rows of success of the events before the last one.
   * moment  null: not known.
   * Returns { probs, row }: of the names within reach, the most recent first, and of any other name;
   * and the row of success of the last event.
   */
  async #look(past, rows, moment) {
    const { ort, universal: shape, predict } = this.#bundle;
    const read = past.slice(-(shape.lookback + shape.num_before + 1));
    const last = new Map(); // name => where it came last, -1 for the last event
    read.slice(-shape.lookback).reverse().forEach(({ behavior }, age) => {
      if (!last.has(behavior)) last.set(behavior, -1 - age);
    });
    const asked = { behavior: 0, location: 0, ...(moment ?? dated(read.at(-1))) };
    const columns = [...read, asked].map((event) => [
      event.behavior,
      event.location && event.location - FIRST_OWN_LOCATION + 1,
      ...dayAndSecond(event),
    ]);
    const history = [0, 1, 2, 3].flatMap((row) => columns.map((column) => column[row]));
    const success = new Float32Array((shape.success_events - 1) * shape.success_columns);
    const latest = rows.slice(-(shape.success_events - 1));
    latest.forEach((row, i) =>
      success.set(row, (shape.success_events - 1 - latest.length + i) * shape.success_columns),
    );
    const outputs = await predict.run({
      history: new ort.Tensor("float32", Float32Array.from(history), [4, columns.length]),
      last: int64s(ort, [...last.values()]),
      success: new ort.Tensor("float32", success, [shape.success_events - 1, shape.success_columns]),
      known: new ort.Tensor("float32", Float32Array.of(moment === null ? 0 : 1), [1]),
    });
    return { probs: outputs.probs.data, row: outputs.new_success.data };
  }

  /**
   * What the habit kernels look back on, and the names of the candidates, ids 1, 2, ...
   *
   * Behaviors of the user's own have the ids V..V+U-1, the most recent first; 0: no slot left.
   * Unknown locations have ids of their own beyond the vocabulary: only their identity matters.
   */
  #pastBehaviors() {
    const vocabulary = this.#vocabulary;
    const numKnown = vocabulary.behaviors.length;
    const events = this.#events.slice(-(this.#bundle?.shape?.habit_events ?? HABIT_EVENTS));
    const numSpare = this.#bundle?.shape?.num_spare ?? HABIT_EVENTS;
    const slots = new Map();
    const ownLocations = new Map();
    const past = [];
    for (const { event, location, at, utcOffsetMin } of events.reverse()) {
      const eventId = vocabulary.eventId(event);
      let behavior = eventId ? vocabulary.eventToBehavior[eventId] : vocabulary.behaviorId(event);
      if (behavior === NO_BEHAVIOR) continue;
      if (behavior === UNKNOWN && eventId === UNKNOWN) {
        if (!slots.has(event) && slots.size < numSpare) slots.set(event, numKnown + slots.size);
        behavior = slots.get(event) ?? UNKNOWN;
      }
      let locationId = vocabulary.locationId(location);
      if (location !== null && locationId === UNKNOWN) {
        if (!ownLocations.has(location)) ownLocations.set(location, FIRST_OWN_LOCATION + ownLocations.size);
        locationId = ownLocations.get(location);
      }
      past.push({ behavior, location: locationId, at, utcOffsetMin });
    }
    return { past: past.reverse(), names: [...vocabulary.behaviors.slice(1), ...slots.keys()] };
  }

  /**
   * State of the network after the latest of some events, (D,).
   *
   * Advances one event at a time, each with the window - 1 events before it. A state that is not
   * there is made from the last `receptive_field` events: what lies further back has no path to it.
   */
  async #hidden({ events, count, pastChanges }) {
    const { ort, shape, observe } = this.#bundle;
    let state = this.#state;
    if (state === null || count - state.numSeen >= shape.receptive_field) {
      const numSeen = count - Math.min(events.length, shape.receptive_field);
      state = { numSeen, hidden: null, cache: new Float32Array(0) };
    }
    let { numSeen, hidden, cache } = state;
    this.#state = null; // until it has advanced
    const numRows = 2 * shape.num_layers;
    for (; numSeen < count; numSeen += 1) {
      const { event, location, at, utcOffsetMin } = events[events.length - (count - numSeen)];
      const numCached = cache.length / (numRows * shape.width);
      const outputs = await observe.run({
        event: int64s(ort, [this.#vocabulary.eventId(event)]),
        location: int64s(ort, [this.#vocabulary.locationId(location)]),
        time_s: int64s(ort, [at]),
        utc_offset_min: int64s(ort, [utcOffsetMin]),
        position: int64s(ort, [numSeen], []),
        cache: new ort.Tensor("float32", cache, [
          numRows,
          numCached,
          shape.num_heads,
          shape.head_width,
        ]),
      });
      hidden = outputs.hidden.data;
      cache = appended(cache, outputs.new_rows.data, numRows, shape.width, shape.window - 1);
    }
    // Not if the past has changed since the question was asked.
    if (pastChanges === this.#pastChanges) this.#state = { numSeen, hidden, cache };
    return hidden;
  }

  #moment(at, utcOffsetMin) {
    const isDate = at instanceof Date;
    const time = Math.floor(isDate ? at.getTime() / 1000 : at);
    if (typeof time !== "number" || !(time >= EARLIEST_S && time < LATEST_S)) {
      throw new RangeError(`at must be a Date or unix seconds within 1990..2100, got ${at}`);
    }
    const latest = this.#events.at(-1)?.utcOffsetMin ?? 0;
    const offset = utcOffsetMin ?? (isDate ? -at.getTimezoneOffset() : latest);
    if (!Number.isInteger(offset) || Math.abs(offset) > 840) {
      throw new RangeError(`utcOffsetMin must be whole minutes in -840..840, got ${offset}`);
    }
    return { at: time, utcOffsetMin: offset };
  }
}

/**
 * A cache with the rows of one more event, of which the last `maxEvents` stay, oldest first.
 *
 * cache    (numRows, C, D); it is written to where the lengths allow.
 * newRows  (numRows, 1, D)
 */
function appended(cache, newRows, numRows, width, maxEvents) {
  const numCached = cache.length / (numRows * width);
  const numKept = Math.min(numCached, maxEvents - 1);
  const isFull = numKept + 1 === numCached;
  const next = isFull ? cache : new Float32Array(numRows * (numKept + 1) * width);
  for (let row = 0; row < numRows; row += 1) {
    const begin = row * (numKept + 1) * width;
    const end = begin + numKept * width;
    const kept = [((row + 1) * numCached - numKept) * width, (row + 1) * numCached * width];
    if (isFull) next.copyWithin(begin, ...kept);
    else next.set(cache.subarray(...kept), begin);
    next.set(newRows.subarray(row * width, (row + 1) * width), end);
  }
  return next;
}

const dated = ({ at, utcOffsetMin }) => ({ at, utcOffsetMin });

function checkName(value, what) {
  if (typeof value !== "string" || value === "") {
    throw new TypeError(`${what} must be a string and not empty, got ${value}`);
  }
}

const int64s = (ort, values, shape = [values.length]) =>
  new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);

/** Past behaviors as the graphs take them, (4, n), oldest first. */
function historyTensor(ort, past) {
  const columns = ["behavior", "location", "at", "utcOffsetMin"];
  const values = columns.flatMap((column) => past.map((event) => event[column]));
  return int64s(ort, values, [columns.length, past.length]);
}
