/** The universal model: it knows no names, and predicts from a user's own past how that goes on. */

import { UNKNOWN } from "./bundle.js";
import { dayAndSecond } from "./moments.js";
import { floats, int64s } from "./tensors.js";

export class Universal {
  #bundle;
  #state = null; // { changes, numSeen, rows }: rows of success of the events before number `numSeen`, the latest last

  constructor(bundle) {
    this.#bundle = bundle;
  }

  /**
   * The names that a user has used within reach, the most recent first, and their probabilities; what is missing to 1 is
   * that of any other name.
   *
   * events, count, changes  as for `Network.hidden`; at least one event.
   * moment                  null: not known.
   * vocabulary              gives events their behaviors.
   */
  async probs({ events, count, changes, moment }, vocabulary) {
    const shape = this.#bundle.universal;
    const past = new Past(events.slice(-shape.history_events), vocabulary);
    const first = count - Math.min(past.length, shape.success_events);
    let state = this.#state;
    this.#state = null; // until it has advanced
    if (state?.changes !== changes || state.numSeen <= first || state.numSeen > count) {
      state = { changes, numSeen: first, rows: [] };
    }
    let { numSeen, rows } = state;
    for (; numSeen < count - 1; numSeen += 1) {
      rows = [...rows, (await this.#look(past, past.length - (count - numSeen) + 1, rows, null)).row];
    }
    const before = numSeen === count ? rows.slice(0, -1) : rows;
    const { probs, row, last } = await this.#look(past, past.length, before, moment);
    this.#state = { changes, numSeen: count, rows: [...before, row].slice(-shape.success_events) };
    return past.behaviors(last, probs);
  }

  /**
   * One run of the graph.
   *
   * end     events of the past that it reads, at least one.
   * rows    rows of success of the events before the last one.
   * moment  null: not known.
   * Returns { probs, row, last }: of the names within reach, the most recent first, and of any other name; the row of
   * success of the last event; and where each of the names came last, -1 for the last event.
   */
  async #look(past, end, rows, moment) {
    const { ort, universal: shape, predict } = this.#bundle;
    const begin = Math.max(0, end - (shape.lookback + shape.num_before + 1));
    const numRows = shape.success_events - 1;
    const success = new Float32Array(numRows * shape.success_columns);
    const latest = rows.slice(-numRows);
    latest.forEach((row, i) => success.set(row, (numRows - latest.length + i) * shape.success_columns));
    const last = past.last(Math.max(0, end - shape.lookback), end);
    const outputs = await predict.run({
      history: new ort.Tensor("float32", past.columns(begin, end, moment), [4, end - begin + 1]),
      last: int64s(ort, last),
      success: new ort.Tensor("float32", success, [numRows, shape.success_columns]),
      known: floats(ort, [moment === null ? 0 : 1]),
    });
    return { probs: outputs.probs.data, row: outputs.new_success.data, last };
  }
}

/** Events as the graph reads them: names and locations are numbers in the order of their first use. */
class Past {
  #names = []; // of number 1, 2, ...: the behavior, or null for a known event that is none of the behaviors
  #columns; // names, locations, days, seconds

  constructor(events, vocabulary) {
    this.#columns = [0, 1, 2, 3].map(() => new Float32Array(events.length));
    const numbers = new Map();
    const places = new Map([[null, 0]]);
    for (const [i, { event, location, ...moment }] of events.entries()) {
      const eventId = vocabulary.eventId(event);
      const behavior = eventId ? vocabulary.eventToBehavior[eventId] : vocabulary.behaviorId(event);
      const isInput = eventId !== UNKNOWN && behavior <= UNKNOWN;
      const name = behavior > UNKNOWN ? vocabulary.behaviors[behavior] : event;
      const key = isInput ? `input ${name}` : `behavior ${name}`;
      if (!numbers.has(key)) {
        numbers.set(key, numbers.size + 1);
        this.#names.push(isInput ? null : name);
      }
      if (!places.has(location)) places.set(location, places.size);
      const row = [numbers.get(key), places.get(location), ...dayAndSecond(moment)];
      row.forEach((value, column) => (this.#columns[column][i] = value));
    }
  }

  get length() {
    return this.#columns[0].length;
  }

  /** (4, end - begin + 1): the events, and the question: 0, 0, and its day and second, or those of the last event. */
  columns(begin, end, moment) {
    const last = this.#columns.map((column) => column[end - 1]);
    const asked = [0, 0, ...(moment === null ? last.slice(2) : dayAndSecond(moment))];
    const width = end - begin + 1;
    const all = new Float32Array(4 * width);
    this.#columns.forEach((column, row) => {
      all.set(column.subarray(begin, end), row * width);
      all[(row + 1) * width - 1] = asked[row];
    });
    return all;
  }

  /** Where each name of some events came last, -1 for the last event; the most recent first. */
  last(begin, end) {
    const [names] = this.#columns;
    const seen = new Map();
    for (let i = end - 1; i >= begin; i -= 1) {
      if (!seen.has(names[i])) seen.set(names[i], i - end);
    }
    return [...seen.values()];
  }

  /** { names, probs } of the behaviors that came last there; events that are input only are never what is predicted. */
  behaviors(last, probs) {
    const all = last.map((age) => this.#names[this.#columns[0].at(age) - 1]);
    const inputs = all.reduce((sum, name, i) => (name === null ? sum + probs[i] : sum), 0);
    const kept = [...all.keys()].filter((i) => all[i] !== null);
    return { names: kept.map((i) => all[i]), probs: Float32Array.from(kept, (i) => probs[i] / (1 - inputs)) };
  }
}
