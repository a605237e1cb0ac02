/**
 * Taps are events; after each the page shows what comes next, why, and how long that took.
 *
 * The model is the bundle in the folder `bundle/` beside this page, or in `?bundle=FOLDER`, else the
 * universal model of the package; without any, habits alone predict. The history lies in IndexedDB and
 * survives a reload.
 */

import { AskedBeforeTold, behaviorOf, inSlices } from "./asked_before_told.js";
import { $, ask, clockOf, counted, element, momentOf, percent } from "./elements.js";
import { startLogCard, scoresTable } from "./log_card.js";
import { DisplayNames, placeName } from "./names.js";
import { filesAt, openBundle, Predictor, StoredHistory } from "./node_modules/edgebehave/index.js";
import { reasons } from "./reasons.js";
import { sampleLog } from "./sample_log.js";

const BUNDLES = ["bundle", "node_modules/edgebehave/universal"];
const RUNTIME = "./node_modules/onnxruntime-web/dist/";
const EVERYDAY = [
  ...["alarm", "news", "coffee", "messages", "commute", "mail", "music", "lunch"],
  ...["camera", "shopping", "workout", "games", "video", "reading", "sleep"],
];
const NUM_BUTTONS = 15;
const PLACES = ["home", "work", "on the way", "out"];
const COVERAGE = 0.8;
const NUM_SHOWN = 6; // events of the history
const HISTORY_EVENTS = 512; // that a predictor retains
const UNLIKELY = 0.05;
const FEW = 3; // hits of fewer events say nothing
const HALF_HOUR_MS = 1800e3;

/** The bundle of the first of some folders that holds one, or null if none does. */
async function loadBundle(folders) {
  for (const folder of folders) {
    const response = await fetch(`${folder}/manifest.json`);
    if (response.status === 404) continue;
    if (!response.ok) throw new Error(`${folder}/manifest.json cannot be read: ${response.status}`);
    const ort = await import(`${RUNTIME}ort.wasm.min.mjs`);
    ort.env.wasm.wasmPaths = new URL(RUNTIME, import.meta.url).href; // from here, not from a CDN
    ort.env.wasm.numThreads = 1;
    return openBundle(ort, filesAt(folder));
  }
  return null;
}

/** What the page knows of its user, and how it shows that. */
class Page {
  #bundle;
  #names;
  #store;
  #predictor;
  #hits = null; // an AskedBeforeTold over the whole history; null while it is counted
  #counting = new AbortController();
  #changing = Promise.resolve();
  #isDrawing = false;
  #isStale = false;

  constructor(bundle, names, store, history) {
    this.#bundle = bundle;
    this.#names = names;
    this.#store = store;
    this.#predictor = new Predictor(bundle, history);
  }

  get #events() {
    return this.#predictor.history.events;
  }

  start() {
    this.#drawButtons();
    this.#drawPlaces();
    this.#recount();
    return this.show();
  }

  /** Changes of the history happen one after the other. */
  #change(action) {
    const changed = this.#changing.then(action);
    this.#changing = changed.catch(() => {}); // one failure is not that of the next
    return changed;
  }

  /** Note that an event happens now. */
  tell(event) {
    return this.#change(async () => {
      const now = Math.floor(Date.now() / 1000);
      const last = this.#events.at(-1)?.at ?? 0;
      // Two taps within a second are events a second apart, in their order.
      const at = last >= now && last < now + 60 ? last + 1 : now;
      const utcOffsetMin = -new Date().getTimezoneOffset();
      const noted = this.#predictor.observe(event, { at, location: $("location").value || null, utcOffsetMin });
      if (noted === null) return;
      await this.#store.add(noted);
      $("when").value = 0;
      if (this.#hits) await this.#hits.tell(noted);
      else this.#recount();
      this.#addButton(event);
      await this.show();
    });
  }

  /** Take back the last event. */
  undo() {
    return this.#change(async () => {
      const { events, count } = this.#predictor.history;
      if (events.length > 0) await this.#replace({ events: events.slice(0, -1), count: count - 1 });
    });
  }

  async forget() {
    const number = this.#predictor.history.count;
    const what = number === 1 ? "the one event" : `all ${counted(number, "event")}`;
    if (!(await ask(`Forget ${what}? They cannot be brought back.`, "Forget"))) return;
    await this.#change(async () => {
      this.#predictor = new Predictor(this.#bundle);
      await this.#store.forget();
      await this.#begin();
    });
    $("next-title").focus({ preventScroll: true }); // the button that was pressed is gone
  }

  /** Make the events of a log the history. Returns whether that was wanted. */
  async adopt(events) {
    const { count } = this.#predictor.history;
    const question = `Replace your ${counted(count, "event")} by those of the log? They cannot be brought back.`;
    if (count > 0 && !(await ask(question, "Replace"))) return false;
    await this.#change(() => this.#replace({ events, count: events.length }));
    return true;
  }

  async #replace(history) {
    this.#predictor = new Predictor(this.#bundle, history);
    await this.#store.replace(this.#predictor.history);
    await this.#begin();
  }

  #begin() {
    $("when").value = 0;
    return this.start();
  }

  /** Show the latest; calls that come meanwhile become one. */
  async show() {
    this.#isStale = true;
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    try {
      while (this.#isStale) {
        this.#isStale = false;
        await this.#draw();
      }
    } finally {
      this.#isDrawing = false;
    }
  }

  async #draw() {
    const at = askedMoment();
    const location = $("location").value || null;
    const { events, count } = this.#predictor.history;
    // Other models do not ask where the next behavior happens.
    const asked = this.#bundle?.shape?.query_context === "time_location" ? { at, location } : { at };
    const started = performance.now();
    const predictions = await this.#predictor.predict({ k: 5, ...asked });
    const milliseconds = performance.now() - started;
    const hasSet = this.#bundle !== null && predictions.length > 0;
    const set = hasSet ? await this.#predictor.predictionSet({ coverage: COVERAGE, ...asked }) : [];
    $("latency").textContent = predictions.length ? `${milliseconds.toFixed(1)} ms` : "";
    this.#drawPredictions(predictions, set, events, at, location);
    $("when-text").textContent = whenText(at);
    $("when").setAttribute("aria-valuetext", whenText(at));
    $("count").textContent = counted(count, "event");
    $("history-buttons").hidden = events.length === 0;
    const latest = events.slice(-NUM_SHOWN).reverse();
    const items = latest.map((event) => this.#historyItem(event));
    if (items.length === 0) items.push(element("li", { className: "quiet", textContent: "Nothing yet." }));
    $("history").replaceChildren(...items);
    this.#drawHits();
    document.body.dataset.shown = count; // for tests: predictions for so many events
  }

  #drawPredictions(predictions, set, events, at, location) {
    const vocabulary = this.#bundle?.vocabulary;
    const past = events.map((event) => ({ ...event, behavior: behaviorOf(vocabulary, event.event) }));
    const moment = { at: Math.floor(at / 1000), utcOffsetMin: -at.getTimezoneOffset() };
    const why = reasons(past, moment, location, (behavior) => this.#names.of(behavior));
    const isInSet = new Set(set.map(({ behavior }) => behavior));
    const items = predictions.map(({ behavior, probability }) => {
      const item = element(
        "li",
        { className: isInSet.has(behavior) ? "in-set" : "" },
        element(
          "span",
          { className: "what" },
          element("span", { className: "name", textContent: this.#names.of(behavior), title: behavior }),
          element("span", { className: "why", textContent: why(behavior, probability >= UNLIKELY) }),
        ),
        element("span", { className: "share", textContent: percent(probability) }),
      );
      item.style.setProperty("--share", `${(100 * probability).toFixed(1)}%`);
      return item;
    });
    if (items.length === 0) {
      const hint = "Tap what you do. From the first tap on, this list learns.";
      const onclick = () => this.adopt(sampleLog(new Date()));
      const trial = element("button", { id: "trial", textContent: "Try it with a made-up month", onclick });
      items.push(element("li", { className: "empty" }, element("p", { textContent: hint }), trial));
    }
    $("predictions").replaceChildren(...items);
    $("set").hidden = set.length === 0;
    if (set.length > 0) {
      const shown = set.slice(0, 4).map(({ behavior }) => this.#names.of(behavior));
      const rest = set.length - shown.length;
      const list = rest > 0 ? `${shown.join(", ")} and ${rest} more` : shown.join(", ");
      const what = set.length === 1 ? "" : " one of";
      $("set").replaceChildren(element("b", { textContent: `With ${percent(COVERAGE)}${what}: ` }), list);
    }
    const [best] = predictions;
    const spoken = best ? `Most likely next: ${this.#names.of(best.behavior)}, ${percent(best.probability)}.` : "";
    if ($("spoken").textContent !== spoken) $("spoken").textContent = spoken;
  }

  #historyItem(event) {
    const isToday = Math.abs(Date.now() / 1000 - event.at) < 12 * 3600;
    const when = isToday ? clockOf(event) : momentOf(event);
    const where = event.location ? `${placeName(event.location)}, ${when}` : when;
    return element(
      "li",
      {},
      element("span", { className: "name", textContent: this.#names.of(event.event), title: event.event }),
      element("span", { className: "quiet", textContent: where }),
    );
  }

  /** Count the hits of the whole history anew, each event asked for before it is told. */
  async #recount() {
    this.#counting.abort();
    this.#counting = new AbortController();
    this.#hits = null;
    const { signal } = this.#counting;
    const hits = new AskedBeforeTold(replaying(this.#bundle), this.#bundle?.vocabulary);
    const events = this.#events;
    await inSlices(events, (event) => hits.tell(event), { signal });
    if (signal.aborted) return;
    this.#hits = hits;
    this.#drawHits();
  }

  #drawHits() {
    const isEnough = this.#hits !== null && this.#hits.numAsked >= FEW;
    $("hits").hidden = !isEnough;
    if (!isEnough) return;
    const { numAsked, rows } = this.#hits;
    $("hits-text").textContent = `Asked before each of ${counted(numAsked, "event")}, beside counting alone.`;
    const shown = rows.filter(({ name }) => ["edgebehave", "most frequently used", "follow the leader"].includes(name));
    scoresTable($("hits-table"), shown, numAsked);
  }

  /** The user's most frequent events, then those of the vocabulary. */
  #drawButtons() {
    const uses = new Map();
    for (const { event } of this.#events) uses.set(event, (uses.get(event) ?? 0) + 1);
    const own = [...uses].filter(([, number]) => number > 1).sort((a, b) => b[1] - a[1]).map(([event]) => event);
    const known = this.#bundle?.shape ? this.#bundle.vocabulary.events.slice(1) : EVERYDAY;
    const names = [...new Set([...own, ...known])];
    $("events").replaceChildren();
    for (const name of names.slice(0, NUM_BUTTONS)) this.#addButton(name);
    $("names").replaceChildren(...names.map((name) => element("option", { value: name, label: this.#names.of(name) })));
  }

  #addButton(name) {
    if ([...$("events").children].some((button) => button.title === name)) return;
    const onclick = () => this.tell(name);
    $("events").append(element("button", { textContent: this.#names.of(name), title: name, onclick }));
  }

  #drawPlaces() {
    const known = this.#bundle?.vocabulary.locations?.slice(1) ?? [];
    const own = this.#events.map(({ location }) => location).filter((location) => location !== null);
    const places = [...new Set([...own.reverse(), ...(known.length ? known : PLACES)])];
    const chosen = $("location").value;
    $("location").replaceChildren(
      element("option", { value: "", textContent: "Anywhere" }),
      ...places.map((name) => element("option", { value: name, textContent: placeName(name) })),
    );
    $("location").value = places.includes(chosen) ? chosen : "";
  }
}

/** A predictor for a log, whose times may lie anywhere. */
const replaying = (bundle) => new Predictor(bundle, undefined, { maxAheadS: null });

/** The moment of the slider: now, or one of the coming half hours. */
function askedMoment() {
  const ahead = Number($("when").value);
  if (ahead === 0) return new Date();
  return new Date((Math.floor(Date.now() / HALF_HOUR_MS) + ahead) * HALF_HOUR_MS);
}

function whenText(at) {
  if (Number($("when").value) === 0) return "now";
  const clock = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return `${at.getDate() === new Date().getDate() ? "today" : "tomorrow"} ${clock}`;
}

/** Have the service worker save all that this page needs, and say how that stands. */
async function prepareOffline(folders, withRuntime) {
  const say = (text, state) => {
    $("offline").hidden = false;
    $("offline").textContent = text;
    document.body.dataset.offline = state;
  };
  if (!navigator.serviceWorker) return say("Online only: this browser or address allows no service worker", "no");
  say("Saving for offline…", "saving");
  try {
    await navigator.serviceWorker.register("offline.js");
    const { active } = await navigator.serviceWorker.ready;
    const { port1, port2 } = new MessageChannel();
    const answered = new Promise((resolve) => {
      port1.onmessage = ({ data }) => resolve(data);
    });
    active.postMessage({ save: { folders, withRuntime } }, [port2]);
    const { saved, isNew, reason } = await answered;
    if (!saved) throw new Error(reason);
    say("Works offline", "yes");
    $("update").hidden = !isNew;
  } catch (error) {
    say(`Online only: ${error.message}`, "no");
  }
}

function titleOf(bundle) {
  if (bundle === null) return "Your habits alone, no model";
  if (bundle.universal) return "The universal model, for any names";
  return `A model with ${bundle.vocabulary.behaviors.length - 1} behaviors, and your habits`;
}

async function main() {
  const folder = new URLSearchParams(location.search).get("bundle");
  const folders = folder === null ? BUNDLES : [folder];
  const bundle = await loadBundle(folders);
  globalThis.edgebehave = { bundle }; // tests check the runtime of this very page with golden vectors
  const { events = [], behaviors = [] } = bundle?.shape ? bundle.vocabulary : {};
  const names = new DisplayNames([...new Set([...events, ...behaviors].filter((name) => name !== "<unknown>"))]);
  const capacity = Math.max(HISTORY_EVENTS, (bundle?.shape ?? bundle?.universal)?.history_events ?? 0);
  const store = await StoredHistory.open("edgebehave", capacity);
  const page = new Page(bundle, names, store, await store.read());
  $("model").textContent = titleOf(bundle);
  $("other").onsubmit = (submitted) => {
    submitted.preventDefault();
    const event = $("name").value.trim();
    if (event !== "") page.tell(event);
    $("name").value = "";
  };
  $("undo").onclick = () => page.undo();
  $("forget").onclick = () => page.forget();
  $("when").oninput = $("location").onchange = () => page.show();
  $("update").onclick = () => location.reload();
  startLogCard({
    newPredictor: () => replaying(bundle),
    vocabulary: bundle?.vocabulary,
    names,
    adopt: (events) => page.adopt(events),
  });
  await page.start();
  setInterval(() => page.show(), 60_000); // "now" moves on
  document.body.dataset.ready = ""; // for tests
  await prepareOffline(folders, bundle !== null);
}

main().catch((error) => {
  $("model").textContent = `This does not work here: ${error.message}`;
  throw error;
});
