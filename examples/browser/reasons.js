/** Why a behavior is predicted, in counts of the user's own past: "4 of 5 mornings here". */

import { clockOf } from "./elements.js";

const PARTS = [
  ["night", 0],
  ["morning", 5],
  ["afternoon", 12],
  ["evening", 17],
  ["night", 22],
];
const NIGHT_ENDS_S = 5 * 3600; // a night belongs to the day on which it began
const AROUND_S = 1800; // how far a clock may be from another to be around it
const FEW = 2; // with fewer cases a count says nothing

function localTime({ at, utcOffsetMin }) {
  const local = at + 60 * utcOffsetMin;
  const second = ((local % 86400) + 86400) % 86400;
  const part = PARTS.findLast(([, from]) => second >= 3600 * from)[0];
  return { part, day: Math.floor((local - NIGHT_ENDS_S) / 86400), second };
}

/** Of two seconds of a day, around midnight too. */
function areNear(a, b) {
  const apart = Math.abs(a - b);
  return Math.min(apart, 86400 - apart) <= AROUND_S;
}

/**
 * Counts of the past for some behaviors at a moment.
 *
 * past    [{ behavior, location, at, utcOffsetMin }, ...], oldest first; behavior null: input only.
 * moment  { at, utcOffsetMin }, the moment to predict for.
 * place   where; null: anywhere.
 * shown   (behavior) => its name for people.
 *
 * Returns (behavior, isLikely) => a sentence, made of the count that says most: of the earlier mornings,
 * say, on which anything was noted (here), of the events around this time of day, of those after the last
 * behavior, or of all. Of h hits in n cases the largest h / (n + 2) says most, so that 1 of 1 does not
 * beat 4 of 5. An unlikely behavior gets the count of all events: what speaks for it would mislead.
 */
export function reasons(past, moment, place, shown) {
  const counted = past.filter(({ behavior }) => behavior !== null);
  const now = localTime(moment);
  const last = counted.at(-1)?.behavior;
  const here = new Map(); // day => behaviors of its mornings in this place
  const anywhere = new Map();
  const around = [];
  const after = [];
  counted.forEach((event, i) => {
    const { part, day, second } = localTime(event);
    if (areNear(second, now.second)) around.push(event.behavior);
    if (part === now.part && day !== now.day) {
      for (const days of event.location === place ? [here, anywhere] : [anywhere]) {
        if (!days.has(day)) days.set(day, new Set());
        days.get(day).add(event.behavior);
      }
    }
    if (i > 0 && counted[i - 1].behavior === last) after.push(event.behavior);
  });
  return (behavior, isLikely = true) => {
    const onDays = (days) => [...days.values()].filter((seen) => seen.has(behavior)).length;
    const times = (behaviors) => behaviors.filter((other) => other === behavior).length;
    const special = [
      ...(place === null ? [] : [[onDays(here), here.size, `${now.part}s here`]]),
      [onDays(anywhere), anywhere.size, `${now.part}s`],
      [times(around), around.length, `events around ${clockOf(moment)}`],
      ...(last === undefined ? [] : [[times(after), after.length, `times after ${shown(last)}`]]),
    ].filter(([hits, of]) => hits > 0 && of >= FEW);
    const cases = isLikely ? special : [];
    const all = times(counted.map((event) => event.behavior));
    if (all > 0) cases.push([all, counted.length, counted.length === 1 ? "event" : "events"]);
    if (cases.length === 0) return "not in your history yet";
    const [hits, of, what] = cases.reduce((best, next) => (saying(next) > saying(best) ? next : best));
    return `${hits} of ${of} ${what}`;
  };
}

const saying = ([hits, of]) => hits / (of + 2);
