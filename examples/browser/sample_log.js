/** A made-up month of everyday events until a moment, for those who have no log at hand. */

/** [event, local hour, share of the days, place, weekdays only] */
const DAY = [
  ["alarm", 6.75, 0.95, "home", true],
  ["news", 7.1, 0.6, "home", false],
  ["coffee", 7.4, 0.9, "home", false],
  ["music", 8.0, 0.75, "on the way", true],
  ["mail", 8.7, 0.95, "work", true],
  ["messages", 10.3, 0.6, "work", true],
  ["coffee", 10.8, 0.7, "work", true],
  ["lunch", 12.3, 0.9, "out", false],
  ["mail", 13.2, 0.8, "work", true],
  ["camera", 14.5, 0.25, "out", false],
  ["messages", 16.2, 0.5, "work", true],
  ["music", 17.6, 0.7, "on the way", true],
  ["shopping", 18.1, 0.35, "out", false],
  ["workout", 18.6, 0.45, "out", true],
  ["video", 20.4, 0.75, "home", false],
  ["messages", 21.2, 0.6, "home", false],
  ["reading", 22.1, 0.65, "home", false],
  ["sleep", 23.0, 0.85, "home", false],
];
const DAYS = 28;

/** until: a Date. Returns events as `openLog` gives them, the same for every call on one day. */
export function sampleLog(until) {
  let state = 20260302;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // a linear congruential generator
    return state / 2 ** 32;
  };
  const events = [];
  for (let ago = DAYS; ago >= 0; ago -= 1) {
    const day = new Date(until.getFullYear(), until.getMonth(), until.getDate() - ago);
    const isWeekend = day.getDay() % 6 === 0;
    for (const [event, hour, share, location, onWeekdays] of DAY) {
      const [happens, late] = [random() < share, random() + random() - 1];
      if (!happens || (onWeekdays && isWeekend)) continue;
      const minutes = Math.round(60 * (hour + (isWeekend ? 0.8 : 0) + 0.4 * late));
      const when = new Date(day.getFullYear(), day.getMonth(), day.getDate(), 0, minutes);
      if (when >= until) continue;
      const at = Math.floor(when.getTime() / 1000);
      events.push({ event, location, at, utcOffsetMin: -when.getTimezoneOffset() });
    }
  }
  return events.sort((a, b) => a.at - b.at);
}
