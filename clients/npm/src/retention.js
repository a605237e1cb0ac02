/** The rule for the events of a user that are retained, as in the SDK in Python. */

export const HISTORY_EVENTS = 512;
const STEPS = 32;

/**
 * The last `maxEvents` events, and of these none older than `maxAgeS`.
 *
 * Age is counted back from the latest event, or from the clock if that lies earlier. Events expire in steps of 1/32 of
 * `maxAgeS` since 1970, because the states of a user are computed anew when the oldest event is dropped.
 */
export class Retention {
  /**
   * maxEvents  at least 1.
   * maxAgeS    seconds, at least a minute; null: of any age.
   * Throws a RangeError for other numbers.
   */
  constructor({ maxEvents = HISTORY_EVENTS, maxAgeS = null } = {}) {
    if (!Number.isInteger(maxEvents) || maxEvents < 1) {
      throw new RangeError(`maxEvents must be a whole number of at least 1, got ${maxEvents}`);
    }
    if (maxAgeS !== null && !(maxAgeS >= 60 && maxAgeS < Infinity)) {
      throw new RangeError(`maxAgeS must be null or at least a minute, got ${maxAgeS}`);
    }
    this.maxEvents = maxEvents;
    this.maxAgeS = maxAgeS === null ? null : Math.floor(maxAgeS);
  }

  /** The first moment that is retained if the latest event happened at `latestS`. */
  oldestS(latestS) {
    if (this.maxAgeS === null) return 0;
    const now = Math.min(latestS, Math.floor(Date.now() / 1000));
    const step = Math.floor(this.maxAgeS / STEPS);
    return Math.ceil((now - this.maxAgeS) / step) * step;
  }
}
