/** Predictors over a log, each asked before it is told what came, as `edgebehave evaluate` asks them. */

import { FollowTheLeader, MARKOV_1, MOST_FREQUENTLY_USED, MOST_RECENTLY_USED } from "./follow_the_leader.js";

const SLICE_MS = 30;
const ASKED = 3;
const COUNTING = [
  ["most frequently used", MOST_FREQUENTLY_USED],
  ["most recently used", MOST_RECENTLY_USED],
  ["Markov chain of order 1", MARKOV_1],
  ["follow the leader", undefined],
];

/** The behavior of an event name, null for one that is input only. */
export function behaviorOf(vocabulary, event) {
  const id = vocabulary?.eventId(event) ?? 0;
  if (id === 0) return event;
  const behavior = vocabulary.eventToBehavior[id];
  return behavior > 0 ? vocabulary.behaviors[behavior] : null;
}

export class AskedBeforeTold {
  #predictor;
  #vocabulary;
  #counting = new FollowTheLeader();
  #numTold = 0;
  numAsked = 0;
  /** Of each predictor, this model first: { name, first, amongThree }, hits of numAsked. */
  rows = ["edgebehave", ...COUNTING.map(([name]) => name)].map((name) => ({ name, first: 0, amongThree: 0 }));
  /** Of each local hour: { asked, first }. */
  hours = Array.from({ length: 24 }, () => ({ asked: 0, first: 0 }));

  /** predictor: a new one, of which nobody else makes use. */
  constructor(predictor, vocabulary) {
    this.#predictor = predictor;
    this.#vocabulary = vocabulary;
  }

  /**
   * Ask for the moment of an event, compare, and tell it.
   *
   * Returns { event, behavior, predictions, rank } with the rank 0, 1, ... of what came, -1 below the
   * first three; null for the first event, of which nothing could be known, and for input only.
   */
  async tell(event) {
    const { at, location, utcOffsetMin } = event;
    const behavior = behaviorOf(this.#vocabulary, event.event);
    let asked = null;
    if (behavior !== null && this.#numTold > 0) {
      const predictions = await this.#predictor.predict({ k: ASKED, at, utcOffsetMin });
      const rank = predictions.findIndex((prediction) => prediction.behavior === behavior);
      asked = { event, behavior, predictions, rank };
      this.#count(event, behavior, rank);
    }
    this.#predictor.observe(event.event, { at, location, utcOffsetMin });
    if (behavior !== null) {
      this.#counting.observe(behavior);
      this.#numTold += 1;
    }
    return asked;
  }

  #count({ at, utcOffsetMin }, behavior, rank) {
    this.numAsked += 1;
    const ranks = [rank, ...COUNTING.map(([, which]) => this.#counting.first(ASKED, which).indexOf(behavior))];
    ranks.forEach((found, row) => {
      if (found === 0) this.rows[row].first += 1;
      if (found >= 0) this.rows[row].amongThree += 1;
    });
    const hour = this.hours[new Date(1000 * (at + 60 * utcOffsetMin)).getUTCHours()];
    hour.asked += 1;
    if (rank === 0) hour.first += 1;
  }
}

/** Lets the page draw and answer. */
export const breathe = () => new Promise((resolve) => setTimeout(resolve));

/**
 * Do something for each item, in slices between which the page stays alive.
 *
 * step      async (item) => ...
 * progress  is called after each slice with the number of items done.
 * Returns the number of items done: all, or fewer if `signal` stopped it.
 */
export async function inSlices(items, step, { progress = () => {}, signal } = {}) {
  let began = performance.now();
  for (let i = 0; i < items.length; i += 1) {
    if (signal?.aborted) return i;
    await step(items[i]);
    if (performance.now() - began > SLICE_MS) {
      progress(i + 1);
      await breathe();
      began = performance.now();
    }
  }
  return items.length;
}
