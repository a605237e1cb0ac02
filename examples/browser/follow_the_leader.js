/**
 * Counting predictors of one user, as `edgebehave.follow_the_leader` in Python: the most recently used
 * behavior, chains of order 0 to 3 (order 0: the most frequently used), and the one of them that was
 * right most often so far. Of equal counts the one used latest comes first.
 *
 * Only the first few of a ranking are asked for. Counts and last uses never fall, so the first of all
 * behaviors are kept from event to event and thousands of names cost nothing.
 */

const MAX_ORDER = 3;
const KEPT = 8; // of the rankings that are kept
const PREFERENCE = [3, 2, 1, 4, 0]; // of equal leaders: the chains of order 2, 1, 0, 3, the most recent

/** Positions of predictors for `first`. */
export const MOST_RECENTLY_USED = 0;
export const MOST_FREQUENTLY_USED = 1;
export const MARKOV_1 = 2;

export class FollowTheLeader {
  #past = [];
  #lastUse = new Map();
  #contexts = Array.from({ length: MAX_ORDER + 1 }, () => new Map()); // context => behavior => count
  #recent = []; // the latest different behaviors
  #frequent = []; // the most frequent behaviors
  hits = [0, 0, 0, 0, 0];

  /** Compare every predictor with what came, then count it. */
  observe(behavior) {
    if (this.#past.length > 0) {
      for (let which = 0; which < this.hits.length; which += 1) {
        if (this.first(1, which)[0] === behavior) this.hits[which] += 1;
      }
    }
    for (let order = 0; order <= Math.min(MAX_ORDER, this.#past.length); order += 1) {
      const context = this.#context(order);
      if (!this.#contexts[order].has(context)) this.#contexts[order].set(context, new Map());
      const counts = this.#contexts[order].get(context);
      counts.set(behavior, (counts.get(behavior) ?? 0) + 1);
    }
    this.#lastUse.set(behavior, this.#past.length);
    this.#past.push(behavior);
    const others = (kept) => kept.filter((other) => other !== behavior);
    this.#recent = [behavior, ...others(this.#recent)].slice(0, KEPT);
    const counts = this.#contexts[0].get("");
    this.#frequent = [...others(this.#frequent), behavior].sort(this.#byCount(counts)).slice(0, KEPT);
  }

  /** The first k <= 5 behaviors of a ranking; which: default, that of the leader. */
  first(k, which = this.leader()) {
    if (which === MOST_RECENTLY_USED) return this.#recent.slice(0, k);
    const found = new Set();
    for (let order = which - 1; order > 0 && found.size < k; order -= 1) {
      const counts = this.#counts(order);
      if (k === 1) {
        const best = this.#best(counts);
        if (best !== undefined) found.add(best);
      } else {
        for (const behavior of [...counts.keys()].sort(this.#byCount(counts))) found.add(behavior);
      }
    }
    for (const behavior of this.#frequent) found.add(behavior);
    return [...found].slice(0, k);
  }

  /** Position of the predictor with most hits so far. */
  leader() {
    return PREFERENCE.reduce((best, which) => (this.hits[which] > this.hits[best] ? which : best));
  }

  #byCount(counts) {
    return (a, b) => counts.get(b) - counts.get(a) || this.#lastUse.get(b) - this.#lastUse.get(a);
  }

  #best(counts) {
    let best;
    const isBetter = this.#byCount(counts);
    for (const behavior of counts.keys()) {
      if (best === undefined || isBetter(behavior, best) < 0) best = behavior;
    }
    return best;
  }

  #counts(order) {
    const known = this.#past.length >= order && this.#contexts[order].get(this.#context(order));
    return known || new Map();
  }

  #context(order) {
    return order ? JSON.stringify(this.#past.slice(-order)) : "";
  }
}
