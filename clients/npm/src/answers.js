/** From probabilities to answers: the order, prediction sets, the tail shift, and the time until the next behavior. */

/** The candidate for no behavior `within` the given time. */
export const NOTHING = "<nothing>";

/** Positions of probabilities, the largest first; equal ones keep their order. */
export const bestFirst = (probs) => [...probs.keys()].sort((a, b) => probs[b] - probs[a] || a - b);

/**
 * Thresholds of prediction sets for a grid of coverages: a set holds the candidates whose probability reaches the
 * threshold, and always the most probable one (split conformal prediction).
 */
export class Thresholds {
  #coverage;
  #threshold;

  /** coverage ascends; threshold has one number for each. */
  constructor({ coverage, threshold }) {
    this.#coverage = coverage;
    this.#threshold = threshold;
  }

  /** Positions of the candidates in the set of a coverage, the most probable first. */
  members(probs, coverage) {
    const index = this.#coverage.findIndex((one) => one >= coverage - 1e-9);
    const least = Math.fround(Math.max(index === -1 ? 0 : this.#threshold[index], IMPOSSIBLE));
    const best = bestFirst(probs);
    const numInside = best.filter((i) => probs[i] >= least).length;
    return best.slice(0, numInside || best.filter((i) => probs[i] === probs[best[0]]).length);
  }
}

const IMPOSSIBLE = 1e-30; // candidates of a smaller probability belong to no set

/** Positions of the most probable candidates whose probabilities sum to `coverage`; all if theirs sum to less. */
export function mostProbable(probs, coverage) {
  const best = bestFirst(probs);
  let sum = 0;
  const numBefore = best.findIndex((i) => (sum += probs[i]) >= coverage);
  return numBefore === -1 ? best : best.slice(0, numBefore + 1);
}

/** p'(b) ~ p(b) exp(tail log r_b): the tail shift toward rare behaviors; graphs compute it themselves. */
export function shifted(probs, logRatio, tail) {
  const scores = Array.from(probs, (prob, b) => Math.log(prob) + tail * logRatio[b]);
  const most = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - most));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return Float32Array.from(weights, (weight) => weight / sum);
}

/** p(time from the last behavior to the next): possible times in seconds, in any order, and their probabilities. */
export class WaitingTime {
  #gapS;
  #probs;

  constructor(gapS, probs) {
    this.#gapS = gapS;
    this.#probs = probs;
  }

  /** p(nothing for `withinS` more | nothing for `waitedS` so far) = S(waited + within) / S(waited), S(t) = p(gap > t). */
  nothingWithin(waitedS, withinS) {
    const still = this.#longerThan(waitedS);
    return still > 0 ? this.#longerThan(waitedS + withinS) / still : 1;
  }

  /** The median of the times in (afterS, untilS]; the middle of the two if none lies there. */
  median(afterS, untilS) {
    const inside = [...this.#gapS.keys()]
      .filter((i) => this.#gapS[i] > afterS && this.#gapS[i] <= untilS)
      .sort((a, b) => this.#gapS[a] - this.#gapS[b] || a - b);
    let mass = 0;
    const masses = inside.map((i) => (mass += this.#probs[i]));
    return mass > 0 ? this.#gapS[inside[masses.findIndex((one) => one >= mass / 2)]] : (afterS + untilS) / 2;
  }

  #longerThan(seconds) {
    return this.#probs.reduce((sum, prob, i) => (this.#gapS[i] > seconds ? sum + prob : sum), 0);
  }
}
