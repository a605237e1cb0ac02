/** Times of the clock on the wall: { at: unix seconds, utcOffsetMin: minutes to add for local time }. */

const modulo = (a, b) => ((a % b) + b) % b;

/** Local days since Saturday, 3 January 1970, and seconds of the local day. */
export function dayAndSecond({ at, utcOffsetMin }) {
  const local = at + 60 * utcOffsetMin - 2 * 86400;
  return [Math.floor(local / 86400), modulo(local, 86400)];
}

/** Local weekday (Monday = 0) and half hour of the day; 1970 began on a Thursday. */
export function weekdayAndSlot({ at, utcOffsetMin }) {
  const secondOfWeek = modulo(at + 60 * utcOffsetMin + 3 * 86400, 7 * 86400);
  return {
    weekday: Math.floor(secondOfWeek / 86400),
    slot: Math.floor((secondOfWeek % 86400) / 1800),
  };
}
