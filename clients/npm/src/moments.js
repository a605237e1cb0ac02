/** Moments, { at: unix seconds, utcOffsetMin: minutes to add for local time }, and their places in day and week. */

import { shown } from "./names.js";

export const EARLIEST_S = 631152000; // 1990: a time before it comes from a clock that was never set
export const LATEST_S = 4102444800; // 2100: seconds below cannot be taken for milliseconds
const MAX_OFFSET_MIN = 840;

/**
 * The moment that a caller passed; parts of a second are cut off.
 *
 * at                a Date, or unix seconds.
 * utcOffsetMin      null: the system's for a Date, `defaultOffsetMin` for a number.
 * Throws a RangeError that says what to pass instead.
 */
export function readMoment(at, utcOffsetMin, defaultOffsetMin) {
  const isDate = at instanceof Date;
  const time = typeof at === "number" || isDate ? Math.floor(isDate ? at.getTime() / 1000 : at) : NaN;
  if (!(time >= EARLIEST_S && time < LATEST_S)) {
    const isMilliseconds = time / 1000 >= EARLIEST_S && time / 1000 < LATEST_S;
    const hint = isMilliseconds ? ": these look like milliseconds, divide them by 1000" : "";
    throw new RangeError(`at must be a Date or unix seconds within 1990..2100, got ${shown(at)}${hint}`);
  }
  const offset = utcOffsetMin ?? (isDate ? -at.getTimezoneOffset() : defaultOffsetMin);
  return { at: time, utcOffsetMin: checkOffset(offset) };
}

/** The offset if it is whole minutes in -840..840; throws a RangeError otherwise. */
export function checkOffset(offset) {
  if (!Number.isInteger(offset) || Math.abs(offset) > MAX_OFFSET_MIN) {
    throw new RangeError(`utcOffsetMin must be whole minutes in -840..840, got ${shown(offset)}`);
  }
  return offset + 0; // -0 is 0
}

/** Local days since Saturday, 3 January 1970, and seconds of the local day. */
export function dayAndSecond({ at, utcOffsetMin }) {
  const local = at + 60 * utcOffsetMin - 2 * 86400; // positive since 1990
  return [Math.floor(local / 86400), local % 86400];
}

/** Local weekday (Monday = 0) and half hour of the day; 1970 began on a Thursday. */
export function weekdayAndSlot({ at, utcOffsetMin }) {
  const secondOfWeek = (at + 60 * utcOffsetMin + 3 * 86400) % (7 * 86400); // positive since 1990
  return {
    weekday: Math.floor(secondOfWeek / 86400),
    slot: Math.floor((secondOfWeek % 86400) / 1800),
  };
}
