/** The question that a prediction answers: the past as the kernels of a bundle read it, and the candidates. */

import { NO_BEHAVIOR, UNKNOWN } from "./bundle.js";

/**
 * The behaviors that habit kernels look back on, and the names of the candidates with the ids 1, 2, ...
 *
 * Behaviors of the user's own have the ids V..V+U-1, the most recently used first; 0: no slot left.
 *
 * events      the retained ones, oldest first.
 * vocabulary  of the bundle, V behaviors.
 * numEvents   events that the kernels look back on.
 * numSpare    U.
 * Returns { past, names }: past [{ behavior, location, at, utcOffsetMin }], without events that are input only.
 */
export function questionOf(events, vocabulary, numEvents, numSpare) {
  const numKnown = vocabulary.behaviors.length;
  const locations = locationIds(events, vocabulary);
  const slots = new Map();
  const past = [];
  for (let i = events.length - 1; i >= Math.max(0, events.length - numEvents); i -= 1) {
    const { event, at, utcOffsetMin } = events[i];
    let behavior = behaviorOf(event, vocabulary);
    if (behavior === NO_BEHAVIOR) continue;
    if (behavior === null) {
      if (!slots.has(event) && slots.size < numSpare) slots.set(event, numKnown + slots.size);
      behavior = slots.get(event) ?? UNKNOWN;
    }
    past.push({ behavior, location: locations[i], at, utcOffsetMin });
  }
  return { past: past.reverse(), names: [...vocabulary.behaviors.slice(1), ...slots.keys()] };
}

/** Ids of the locations of events; the user's own have ids beyond the vocabulary in the order of their first use. */
export function locationIds(events, vocabulary) {
  const own = new Map();
  return events.map(({ location }) => {
    const id = vocabulary.locationId(location);
    if (location === null || id !== UNKNOWN) return id;
    if (!own.has(location)) own.set(location, vocabulary.locations.length + own.size);
    return own.get(location);
  });
}

/** Id of the behavior of an event: NO_BEHAVIOR for input only, null for a name of the user's own. */
export function behaviorOf(event, vocabulary) {
  const eventId = vocabulary.eventId(event);
  if (eventId !== UNKNOWN) return vocabulary.eventToBehavior[eventId];
  return vocabulary.behaviorId(event) || null;
}
