/** The class that an app calls: it takes note of the events of one user and predicts the next behavior. */

// V behaviors of the bundle, id 0 (unknown) included; U spare slots for behaviors of a user's own

import { NOTHING, WaitingTime, bestFirst, mostProbable, shifted } from "./answers.js";
import { NO_BEHAVIOR, NO_VOCABULARY, UNKNOWN } from "./bundle.js";
import { habitsAlone } from "./habits.js";
import { LATEST_S, readMoment } from "./moments.js";
import { checkName, shown } from "./names.js";
import { Network } from "./network.js";
import { behaviorOf, questionOf } from "./question.js";
import { HISTORY_EVENTS, Retention } from "./retention.js";
import { floats, int64s } from "./tensors.js";
import { Universal } from "./universal.js";
import { readUser, writeUser } from "./user_export.js";
import { UserHistory } from "./user_history.js";

const A_DAY_S = 86400;
const HABIT_EVENTS = 512; // without a bundle

// A bundle whose vocabulary holds less than this share of at least so many behaviors of a user was made for another log.
const FOREIGN_SHARE = 0.2;
const FOREIGN_EVENTS = 5;

/**
 * Predictions for one user; they are a function of the retained events and of the number of events.
 *
 * `observe` and what else changes the history takes effect at once. Answers are promises; each is that of the history at
 * the moment of the call.
 */
export class Predictor {
  #bundle;
  #vocabulary;
  #capacity;
  #history;
  #network;
  #universal; // answers always, or for users whose names the bundle hardly holds
  #maxAheadS;
  #running = Promise.resolve(); // answers are computed one after the other

  /**
   * bundle     from `openBundle`; null: habits alone predict, from the first event on.
   * history    what `history` of an earlier predictor was.
   * options:
   * universal  a universal bundle that answers for users whose names the vocabulary of `bundle` hardly holds, see
   *            `knownShare`; null: the bundle answers for them, too.
   * maxEvents  events to retain, 512 or as many as the bundle needs if that is more.
   * maxAgeS    seconds after which events are dropped; null: none is too old.
   * maxAheadS  `observe` refuses an event dated further than this after the device's clock; null: any time, as for the
   *            replay of a log.
   */
  constructor(
    bundle = null,
    history = { events: [], count: 0 },
    { universal = null, maxEvents = HISTORY_EVENTS, maxAgeS = null, maxAheadS = A_DAY_S } = {},
  ) {
    if (universal !== null && (!universal.universal || !bundle?.shape)) {
      throw new TypeError("universal is a universal bundle beside a bundle with a vocabulary");
    }
    this.#bundle = bundle;
    this.#vocabulary = bundle?.vocabulary ?? NO_VOCABULARY;
    this.#capacity = (bundle?.shape ?? bundle?.universal)?.history_events ?? HABIT_EVENTS;
    this.#history = new UserHistory(new Retention({ maxEvents: Math.max(maxEvents, this.#capacity), maxAgeS }));
    this.#history.put(history.events, Math.max(history.count, history.events.length));
    this.#network = bundle?.shape ? new Network(bundle) : null;
    const universalBundle = bundle?.universal ? bundle : universal;
    this.#universal = universalBundle && new Universal(universalBundle);
    this.#maxAheadS = maxAheadS ?? Infinity;
  }

  /** The retained events, { event, location, at, utcOffsetMin }, oldest first, and how many there ever were. */
  get history() {
    return { events: this.#history.events.slice(), count: this.#history.count };
  }

  /**
   * The share of the retained events with a behavior whose behavior the vocabulary holds, 0..1; null without any.
   *
   * From five such events on, a share below a fifth says that the bundle was made for another log.
   */
  get knownShare() {
    const { numKnown, numBehaviors } = this.#knownBehaviors();
    return numBehaviors ? numKnown / numBehaviors : null;
  }

  #knownBehaviors() {
    const behaviors = this.#latest()
      .map(({ event }) => behaviorOf(event, this.#vocabulary))
      .filter((behavior) => behavior !== NO_BEHAVIOR);
    return { numKnown: behaviors.filter((id) => id !== null && id !== UNKNOWN).length, numBehaviors: behaviors.length };
  }

  /** The retained events from which predictions are made. */
  #latest() {
    return this.#history.events.slice(-this.#capacity);
  }

  /**
   * Take note of an event; no graph runs.
   *
   * at            when: a Date or unix seconds. Late events go to their position in time.
   * location      where; null: none.
   * utcOffsetMin  minutes to add for local time; default: the system's for a Date, that of the
   *               latest event for a number.
   * Returns the event as it is retained; null if it was there already: equal in event, location, second and offset.
   * Throws a TypeError or RangeError and then notes nothing.
   */
  observe(event, { at = new Date(), location = null, utcOffsetMin = null } = {}) {
    const noted = {
      event: checkName(event, "event"),
      location: location === null ? null : checkName(location, "location"),
      ...readMoment(at, utcOffsetMin, this.#history.latestOffsetMin),
    };
    const aheadS = noted.at - Date.now() / 1000;
    if (aheadS > this.#maxAheadS) {
      throw new RangeError(
        `the event is dated ${(aheadS / A_DAY_S).toFixed(1)} days after this device's clock, ` +
          `${this.#maxAheadS / A_DAY_S} are allowed: correct its time, or pass maxAheadS: null to replay a log`,
      );
    }
    return this.#history.add(noted) ? noted : null;
  }

  /** Drop everything about the user. */
  forget() {
    this.#history.erase(() => true);
  }

  /**
   * Erase the retained events that fit all that is given, at least one thing, as if they had never been.
   *
   * event, location  names.
   * at               the second of the event; with `until` the first second of a span.
   * until            the last second of a span; without `at`, one from the beginning.
   * Returns the number of erased events.
   */
  forgetEvents({ event = null, location = null, at = null, until = null } = {}) {
    if ([event, location, at, until].every((one) => one === null)) {
      throw new TypeError("forgetEvents needs an event, a location, at or until; see forget");
    }
    const wantedEvent = event === null ? null : checkName(event, "event");
    const wantedLocation = location === null ? null : checkName(location, "location");
    const firstS = at === null ? 0 : readMoment(at, null, 0).at;
    const openEndS = at === null ? LATEST_S : firstS;
    const lastS = until === null ? openEndS : readMoment(until, null, 0).at;
    if (lastS < firstS) throw new RangeError(`until lies ${firstS - lastS} s before at`);
    return this.#history.erase(
      (one) =>
        (wantedEvent === null || one.event === wantedEvent) &&
        (wantedLocation === null || one.location === wantedLocation) &&
        one.at >= firstS &&
        one.at <= lastS,
    );
  }

  /** The history as JSON text, names included, for `importUser` here or `import_user` of the SDK in Python. */
  exportUser() {
    if (this.#history.events.length === 0) throw new Error("there is no event to export");
    return writeUser(this.history);
  }

  /** Read such text into a predictor without events. Throws an Error if it is something else, and changes nothing. */
  importUser(text) {
    const { events, count } = readUser(text);
    if (this.#history.events.length > 0) throw new Error("there is a history already: forget it first");
    this.#history.put(events, count);
  }

  /**
   * The k most probable next behaviors, the most probable first: [{ behavior, probability }, ...].
   *
   * at             the moment to predict for, as in `observe`; null: not known.
   * location       the location to predict for; for bundles with query_context "time_location".
   * tail           strength of the shift toward rare behaviors, 0..1; above 0 it needs a bundle with a vocabulary.
   * within         seconds: predict the next behavior within this time after `at`; `NOTHING` is then a candidate.
   *                Needs a bundle whose model was trained with generation heads.
   * minConfidence  0..1; if the most probable behavior has less, the answer is [].
   */
  async predict({ k = 5, minConfidence = 0, ...asked } = {}) {
    if (!Number.isInteger(k) || k < 1) throw new RangeError(`k must be a whole number of at least 1, got ${shown(k)}`);
    checkShare(minConfidence, "minConfidence");
    const { names, probs } = await this.#answer(asked);
    const best = bestFirst(probs).slice(0, k);
    if (best.length === 0 || probs[best[0]] < Math.fround(minConfidence)) return [];
    return best.map((i) => ({ behavior: names[i], probability: probs[i] }));
  }

  /**
   * The smallest set that holds the next behavior in a share `coverage` of the cases, the most probable first.
   *
   * coverage  0..1; a bundle has thresholds for every hundredth, and the next higher one is used. The universal model
   *           has none: its set is the smallest whose probabilities sum to `coverage`.
   * The other arguments are as in `predict`. Habits alone have no sets.
   */
  async predictionSet({ coverage = 0.9, at, location, utcOffsetMin } = {}) {
    checkShare(coverage, "coverage");
    if (this.#bundle === null) throw new Error("predictionSet needs a bundle; use predict");
    const { names, probs, isNameFree } = await this.#answer({ at, location, utcOffsetMin });
    if (names.length === 0) return [];
    const inside = isNameFree ? mostProbable(probs, coverage) : this.#bundle.thresholds.members(probs, coverage);
    return inside.map((i) => ({ behavior: names[i], probability: probs[i] }));
  }

  /** { names, probs, isNameFree } of all candidates; isNameFree: the universal model gave them. */
  #answer({ at = new Date(), location = null, utcOffsetMin = null, tail = 0, within = null }) {
    const { count, changes, latestOffsetMin } = this.#history;
    const moment = at === null ? null : readMoment(at, utcOffsetMin, latestOffsetMin);
    const question = { events: this.#latest(), count, changes, moment, location, tail, within };
    this.#check(question);
    const isForeign = this.#isForeign();
    const asked = this.#running.then(() => this.#ask(question, isForeign));
    this.#running = asked.catch(() => {}); // one failure is not that of the next
    return asked;
  }

  #check({ location, tail, within, moment }) {
    checkShare(tail, "tail");
    const shape = this.#bundle?.shape;
    if (tail > 0 && !shape) throw new Error("tail needs the class priors of a bundle; leave it out");
    if (location !== null && shape?.query_context !== "time_location") {
      throw new Error(
        'location is not part of this prediction: it needs a bundle with query_context "time_location"; leave it out',
      );
    }
    if (within === null) return;
    if (!(within > 0 && within < Infinity)) throw new RangeError(`within must be seconds above 0, got ${shown(within)}`);
    if (!this.#bundle?.wait) {
      throw new Error(
        "within needs a bundle that knows waiting times: train with `--set generation_heads=true` and export again",
      );
    }
    if (moment === null) throw new Error("within counts from a moment: at must not be null");
  }

  #isForeign() {
    if (!this.#universal || !this.#network) return false;
    const { numKnown, numBehaviors } = this.#knownBehaviors();
    return numBehaviors >= FOREIGN_EVENTS && numKnown < FOREIGN_SHARE * numBehaviors;
  }

  async #ask(question, isForeign) {
    if (question.within === null) return this.#atMoment(question, isForeign);
    const [moment, nothing] = await this.#wait(question);
    const { names, probs, isNameFree } = await this.#atMoment({ ...question, moment }, isForeign);
    const all = Float32Array.of(...probs.map((prob) => prob * Math.fround(1 - nothing)), nothing);
    return { names: [...names, NOTHING], probs: all, isNameFree };
  }

  async #atMoment(question, isForeign) {
    if (this.#universal && (isForeign || !this.#network)) {
      if (question.events.length === 0) return { names: [], probs: [], isNameFree: true };
      return { ...(await this.#universal.probs(question, this.#vocabulary)), isNameFree: true };
    }
    const { past, names } = this.#pastOf(question);
    const probs = this.#network
      ? await this.#run(question, past, names.length)
      : habitsAlone(past, names.length, question.moment);
    return { names, probs, isNameFree: false };
  }

  #pastOf({ events }) {
    const shape = this.#bundle?.shape ?? { habit_events: HABIT_EVENTS, num_spare: HABIT_EVENTS };
    return questionOf(events, this.#vocabulary, shape.habit_events, shape.num_spare);
  }

  /** Probabilities of the candidates from predict.onnx. */
  async #run(question, past, numCandidates) {
    const { ort, shape, predict, classPriors, tailLogRatio } = this.#bundle;
    const { events, moment, location, tail } = question;
    if (events.length === 0 || (shape.habits && past.length === 0)) {
      return (tail ? shifted(classPriors, tailLogRatio, tail) : classPriors).slice(1);
    }
    const inputs = {
      hidden: await this.#network.hidden(question),
      tail: floats(ort, [tail], []),
      time_s: int64s(ort, [moment?.at ?? 0]),
      utc_offset_min: int64s(ort, [moment?.utcOffsetMin ?? 0]),
      time_known: int64s(ort, [moment === null ? 0 : 1]),
      location: int64s(ort, [this.#vocabulary.locationId(location)]),
      history: historyTensor(ort, past),
    };
    const { probs } = await predict.run(Object.fromEntries(predict.inputNames.map((name) => [name, inputs[name]])));
    return probs.data.slice(1, 1 + numCandidates); // id 0 is the unknown behavior
  }

  /** The median moment of the next behavior if it comes in time, and p(nothing comes). */
  async #wait(question) {
    const { ort, wait } = this.#bundle;
    const { past } = this.#pastOf(question);
    if (past.length === 0) throw new Error("within counts from a last behavior, and there is none yet");
    const outputs = await wait.run({
      hidden: await this.#network.hidden(question),
      history: historyTensor(ort, past),
      num_real: int64s(ort, [past.length], []),
    });
    const gap = new WaitingTime(outputs.gap_s.data, outputs.probs.data);
    const { moment, within } = question;
    const lastS = past.at(-1).at;
    const waitedS = Math.max(0, moment.at - lastS);
    const medianS = Math.floor(gap.median(waitedS, waitedS + within));
    return [{ ...moment, at: lastS + medianS }, gap.nothingWithin(waitedS, within)];
  }
}

/** Past behaviors as the graphs take them, (4, n), oldest first. */
function historyTensor(ort, past) {
  const columns = ["behavior", "location", "at", "utcOffsetMin"];
  return int64s(ort, columns.flatMap((column) => past.map((event) => event[column])), [columns.length, past.length]);
}

function checkShare(value, what) {
  if (typeof value !== "number" || !(value >= 0 && value <= 1)) {
    throw new RangeError(`${what} must lie in 0..1, got ${shown(value)}`);
  }
}
