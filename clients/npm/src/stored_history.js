/** The events of one user in IndexedDB, one record each; the number of the last counts them all. */

const STORE = "events";

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

export class StoredHistory {
  #database;
  #capacity;

  constructor(database, capacity) {
    this.#database = database;
    this.#capacity = capacity;
  }

  /** capacity: events to keep. */
  static async open(name, capacity) {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { autoIncrement: true });
    return new StoredHistory(await done(request), capacity);
  }

  /** What `Predictor` takes: events in the order of time, and how many there ever were. */
  async read() {
    const events = this.#database.transaction(STORE).objectStore(STORE);
    const [kept, numbers] = await Promise.all([done(events.getAll()), done(events.getAllKeys())]);
    return { events: kept.sort((a, b) => a.at - b.at), count: numbers.at(-1) ?? 0 };
  }

  /** Resolves once the event is on disk. */
  async add(event) {
    const writing = this.#database.transaction(STORE, "readwrite", { durability: "strict" });
    const events = writing.objectStore(STORE);
    const number = await done(events.add(event));
    if (number > this.#capacity) events.delete(IDBKeyRange.upperBound(number - this.#capacity));
    await new Promise((resolve, reject) => {
      writing.oncomplete = resolve;
      writing.onabort = () => reject(writing.error);
    });
  }

  /** Delete the whole database, its count included. */
  async forget() {
    const { name } = this.#database;
    this.#database.close();
    await done(indexedDB.deleteDatabase(name));
    this.#database = (await StoredHistory.open(name, this.#capacity)).#database;
  }
}
