/** The network of a bundle: its state after the latest event of a user. */

// L layers, D width, C cached events

import { locationIds } from "./question.js";
import { floats, int64s } from "./tensors.js";

export class Network {
  #bundle;
  #state = null; // { changes, origin, numSeen, hidden (D), cache (2 L, C, D) }: after events `origin` to `numSeen` - 1

  constructor(bundle) {
    this.#bundle = bundle;
  }

  /**
   * State after the latest of some events, (1, D).
   *
   * It advances one event at a time, each with the window - 1 events before it. A state that is not there begins so far
   * back that no earlier event has a path to its end, and at a multiple of window - 1, as in the SDK.
   *
   * events   the retained ones.
   * count    how many there ever were.
   * changes  of the history, see `UserHistory`: a state is of use only while they are the same.
   */
  async hidden({ events, count, changes }) {
    const { ort, shape, observe, vocabulary } = this.#bundle;
    const numSlots = shape.window - 1;
    const farEnough = Math.floor(Math.max(0, count - shape.receptive_field) / numSlots) * numSlots;
    const origin = Math.max(farEnough, count - events.length);
    let state = this.#state;
    this.#state = null; // until it has advanced
    if (state?.changes !== changes || !this.#reaches(state, origin, count)) {
      state = { changes, origin, numSeen: origin, hidden: null, cache: new Float32Array(0) };
    }
    let { numSeen, hidden, cache } = state;
    const numRows = 2 * shape.num_layers;
    const locations = locationIds(events, vocabulary);
    for (; numSeen < count; numSeen += 1) {
      const number = events.length - (count - numSeen);
      const { event, at, utcOffsetMin } = events[number];
      const numCached = cache.length / (numRows * shape.width);
      const outputs = await observe.run({
        event: int64s(ort, [vocabulary.eventId(event)]),
        location: int64s(ort, [locations[number]]),
        time_s: int64s(ort, [at]),
        utc_offset_min: int64s(ort, [utcOffsetMin]),
        position: int64s(ort, [numSeen], []),
        cache: new ort.Tensor("float32", cache, [numRows, numCached, shape.num_heads, shape.head_width]),
      });
      hidden = outputs.hidden.data;
      cache = appended(cache, outputs.new_rows.data, numRows, shape.width, numSlots);
    }
    this.#state = { ...state, numSeen, hidden, cache };
    return floats(ort, hidden, [1, shape.width]);
  }

  /** Whether a state, advanced, equals a new one that begins at `origin`, and needs fewer steps. */
  #reaches(state, origin, count) {
    const { window, receptive_field: reach } = this.#bundle.shape;
    if (state.numSeen > count || origin >= state.numSeen) return false;
    const isInStep = (origin - state.origin) % (window - 1) === 0;
    return isInStep && (origin === state.origin || (state.origin < origin && origin <= count - reach));
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
