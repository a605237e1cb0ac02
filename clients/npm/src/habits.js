/**
 * Habits: predictions from a user's own past, without a network. A kernel weighs each past behavior j:
 *
 *     p(b) = sum_k a_k / (E_k + c_k) sum_j w_k(j) [b_j = b] / Z,  E_k = sum_j w_k(j)
 */

import { weekdayAndSlot } from "./moments.js";

const WEIGHT = [0.01, 0.005, 0.001, 0.005, 0.005, 0.07, 0.03, 0.87]; // a_k
const SHRINKAGE = [1.2, 1.5, 4.5, 11.0, 8.5, 25.0, 11.0, 55.0]; // c_k, in events

/** Probabilities of the candidates with ids 1..numCandidates; all 0 without any past. */
export function habitsAlone(past, numCandidates, moment) {
  const evidence = WEIGHT.map(() => 0);
  const weights = past.map((_, j) => kernelWeights(past, j, moment));
  for (const row of weights) row.forEach((weight, k) => (evidence[k] += weight));
  const probs = new Float64Array(numCandidates + 1);
  past.forEach(({ behavior }, j) => {
    weights[j].forEach((weight, k) => {
      probs[behavior] += (WEIGHT[k] * weight) / (evidence[k] + SHRINKAGE[k]);
    });
  });
  const total = probs.reduce((sum, prob) => sum + prob, 0) || 1;
  return probs.subarray(1).map((prob) => prob / total);
}

/**
 * w_k(j): frequency, recency, transition, second order, location, hour, transition at such a moment,
 * location at such a moment.
 */
function kernelWeights(past, j, moment) {
  const n = past.length;
  const sameLast = j >= 1 && past[j - 1].behavior === past[n - 1].behavior ? 1 : 0;
  const sameLastTwo = sameLast && j >= 2 && past[j - 2].behavior === past[n - 2].behavior ? 1 : 0;
  const sameLocation = j >= 1 && past[j - 1].location === past[n - 1].location ? 1 : 0;
  const weights = [1, 0.9 ** (n - 1 - j), sameLast, sameLastTwo, sameLocation];
  if (moment === null) return [...weights, 0, 0, 0];
  const [then, now] = [weekdayAndSlot(past[j]), weekdayAndSlot(moment)];
  const sameDayType = then.weekday >= 5 === now.weekday >= 5 ? 1 : 0;
  const hour = sameDayType * bell(clockDistance(then.slot, now.slot) / 2);
  if (j === 0) return [...weights, hour, 0, 0];
  const gap = logGap(past[j].at - past[j - 1].at) - logGap(moment.at - past[n - 1].at);
  const alike = bell(clockDistance(then.slot, now.slot) / 3) * bell(gap / 0.7);
  return [...weights, hour, sameLast * alike, sameLocation * alike];
}

const bell = (distance) => Math.exp(-0.5 * distance ** 2);
const logGap = (seconds) => Math.log1p(Math.max(seconds, 0) / 600);

/** Half hours around the clock. */
function clockDistance(slot, otherSlot) {
  const apart = Math.abs(slot - otherSlot);
  return Math.min(apart, 48 - apart);
}
