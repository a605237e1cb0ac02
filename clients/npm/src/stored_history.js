/**
 * The history of one user in IndexedDB, one record for each event.
 *
 * A record's key says when the event arrived: events of the same second keep their order of arrival.
 */

import { Retention } from "./retention.js";

const EVENTS = "events";
const NUMBERS = "numbers";
const COUNT = "count"; // key of the number of events that there ever were
const BY_TIME = "at";

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

export class StoredHistory {
  #database;
  #retention;

  constructor(database, retention) {
    this.#database = database;
    this.#retention = retention;
  }

  /**
   * name       of the database.
   * retention  { maxEvents, maxAgeS } as for the `Predictor`; a number is maxEvents. 512 events, or more for bundles whose
   *            `history_events` are more.
   */
  static async open(name, retention = {}) {
    const rule = new Retention(typeof retention === "number" ? { maxEvents: retention } : retention);
    const request = indexedDB.open(name, 2);
    request.onupgradeneeded = ({ oldVersion }) => {
      const { result: database, transaction } = request;
      if (oldVersion < 1) database.createObjectStore(EVENTS, { autoIncrement: true });
      const events = transaction.objectStore(EVENTS);
      events.createIndex(BY_TIME, "at");
      const numbers = database.createObjectStore(NUMBERS);
      // In version 1 the key of the last event counted them.
      events.openKeyCursor(null, "prev").onsuccess = ({ target }) => numbers.put(target.result?.key ?? 0, COUNT);
    };
    return new StoredHistory(await done(request), rule);
  }

  /** What `Predictor` takes: events in the order of time, and how many there ever were. */
  async read() {
    const reading = this.#database.transaction([EVENTS, NUMBERS]);
    const [events, count] = await Promise.all([
      done(reading.objectStore(EVENTS).index(BY_TIME).getAll()),
      done(reading.objectStore(NUMBERS).get(COUNT)),
    ]);
    return { events, count };
  }

  /** Keep what `observe` returned; nothing for null. Resolves once it is on disk. */
  async add(event) {
    if (event === null) return;
    await this.#write(async (events, numbers) => {
      await done(events.add(event));
      numbers.put((await done(numbers.get(COUNT))) + 1, COUNT);
      const byTime = events.index(BY_TIME);
      const numTooMany = (await done(events.count())) - this.#retention.maxEvents;
      const latest = await done(byTime.openKeyCursor(null, "prev"));
      const oldestS = this.#retention.oldestS(latest.key);
      let cursor = await done(byTime.openCursor());
      for (let i = 0; cursor && (i < numTooMany || cursor.key < oldestS); i += 1) {
        cursor.delete();
        cursor.continue();
        cursor = await done(cursor.request);
      }
    });
  }

  /** Keep the `history` of a predictor in place of what is here: after `forgetEvents` and `importUser`. */
  async replace({ events, count }) {
    await this.#write(async (stored, numbers) => {
      stored.clear();
      for (const event of events) stored.add(event);
      numbers.put(count, COUNT);
    });
  }

  /** Delete the whole database. */
  async forget() {
    const { name } = this.#database;
    this.#database.close();
    await done(indexedDB.deleteDatabase(name));
    this.#database = (await StoredHistory.open(name)).#database;
  }

  /** Run a change in one transaction: all of it is on disk, or nothing. */
  async #write(change) {
    const writing = this.#database.transaction([EVENTS, NUMBERS], "readwrite", { durability: "strict" });
    const finished = new Promise((resolve, reject) => {
      writing.oncomplete = resolve;
      writing.onabort = () => reject(writing.error);
    });
    await change(writing.objectStore(EVENTS), writing.objectStore(NUMBERS));
    await finished;
  }
}
