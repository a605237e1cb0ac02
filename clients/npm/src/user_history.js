/** The retained events of one user in the order of time, and how many there ever were. */

/** Whether two events are one: equal in name, location, second and offset of local time. */
const isSame = (one, other) =>
  one.at === other.at &&
  one.event === other.event &&
  one.location === other.location &&
  one.utcOffsetMin === other.utcOffsetMin;

/** Events are { event, location, at, utcOffsetMin }. Events of the same second stay in the order of arrival. */
export class UserHistory {
  #retention;
  events = []; // oldest first
  count = 0; // events ever observed, without those forgotten
  changes = 0; // how often something else changed than that events were added at the end

  constructor(retention) {
    this.#retention = retention;
  }

  /** Offset of local time of the latest event, 0 without any. */
  get latestOffsetMin() {
    return this.events.at(-1)?.utcOffsetMin ?? 0;
  }

  /** Begin with events that another history retained. */
  put(events, count) {
    for (const event of events) this.add(event, true);
    this.count = count;
  }

  /** Add an event at its place in time. Returns whether it is new: the same event twice counts once. */
  add(event, mayRepeat = false) {
    const { events } = this;
    let position = events.length;
    while (position > 0 && events[position - 1].at > event.at) position -= 1;
    for (let i = position - 1; !mayRepeat && i >= 0 && events[i].at === event.at; i -= 1) {
      if (isSame(events[i], event)) return false;
    }
    this.count += 1;
    if (position < events.length) this.changes += 1;
    events.splice(position, 0, event);
    if (events.length > this.#retention.maxEvents) events.shift();
    const oldestS = this.#retention.oldestS(events.at(-1).at);
    if (events[0].at < oldestS) {
      events.splice(0, events.findIndex(({ at }) => at >= oldestS)); // the latest event is young enough
      this.changes += 1;
    }
    return true;
  }

  /** Erase the events for which `matches` is true, as if they had never been. Returns their number. */
  erase(matches) {
    const kept = this.events.filter((event) => !matches(event));
    const numErased = this.events.length - kept.length;
    if (numErased > 0) {
      this.events = kept;
      this.count = kept.length === 0 ? 0 : this.count - numErased;
      this.changes += 1;
    }
    return numErased;
  }
}
