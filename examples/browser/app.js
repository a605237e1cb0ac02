/**
 * Taps are events; after each the page shows what comes next, and how long that took.
 *
 * The model is the bundle in the folder `bundle/` beside this page, or in `?bundle=FOLDER`; without
 * one habits alone predict. The history lies in IndexedDB and survives a reload.
 */

import { openBundle, Predictor, StoredHistory } from "edgebehave";

const RUNTIME = "./node_modules/onnxruntime-web/dist/";
const EVERYDAY = [
  ...["alarm", "news", "coffee", "messages", "commute", "mail", "music", "lunch"],
  ...["camera", "shopping", "workout", "games", "video", "reading", "sleep"],
];
const NUM_BUTTONS = 15;
const LOCATIONS = ["home", "work", "on the way", "out"];

const $ = (id) => document.getElementById(id);

/** The bundle of the page, or null if there is none. */
async function loadBundle() {
  const folder = new URLSearchParams(location.search).get("bundle") ?? "bundle";
  const response = await fetch(`${folder}/manifest.json`).catch(() => null);
  if (!response?.ok) return null;
  const ort = await import(`${RUNTIME}ort.wasm.min.mjs`);
  ort.env.wasm.wasmPaths = new URL(RUNTIME, import.meta.url).href; // from here, not from a CDN
  ort.env.wasm.numThreads = 1;
  return openBundle(ort, async (name) => {
    const file = await fetch(`${folder}/${name}`);
    if (!file.ok) throw new Error(`${folder}/${name} cannot be read: ${file.status}`);
    return new Uint8Array(await file.arrayBuffer());
  });
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function show(predictor) {
  const started = performance.now();
  const predictions = await predictor.predict({ k: 5 });
  const milliseconds = performance.now() - started;
  const { events, count } = predictor.history;
  $("latency").textContent = predictions.length ? `${milliseconds.toFixed(1)} ms` : "";
  $("predictions").replaceChildren(
    ...predictions.map(({ behavior, probability }) => {
      const share = `${(100 * probability).toFixed(0)} %`;
      const item = element(
        "li",
        {},
        element("span", { className: "name", textContent: behavior }),
        element("span", { className: "share", textContent: share }),
      );
      item.style.setProperty("--share", `${(100 * probability).toFixed(1)}%`);
      return item;
    }),
  );
  if (predictions.length === 0) {
    const hint = "Tap what you do. From the first tap on, this list learns.";
    $("predictions").append(element("p", { className: "quiet", textContent: hint }));
  }
  $("count").textContent = count === 1 ? "1 event" : `${count} events`;
  $("history").replaceChildren(
    ...events.slice(-5).reverse().map(({ event, location, at }) => {
      const when = new Date(1000 * at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const where = location ?? "";
      return element(
        "li",
        {},
        element("span", { className: "name", textContent: event }),
        element("span", { className: "quiet", textContent: where ? `${where}, ${when}` : when }),
      );
    }),
  );
  document.body.dataset.shown = count; // for tests: predictions for so many events
}

/** Let the service worker keep whatever this page has loaded, for the next time. */
async function prepareOffline() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("offline.js");
  await navigator.serviceWorker.ready;
  const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
  await Promise.allSettled([location.href, ...new Set(loaded)].map((url) => fetch(url)));
}

async function main() {
  const bundle = await loadBundle();
  const shape = bundle?.shape ?? bundle?.universal;
  const history = await StoredHistory.open("edgebehave", shape?.history_events ?? 512);
  const predictor = new Predictor(bundle, await history.read());
  // Tests check the runtime of this very page with golden vectors.
  globalThis.edgebehave = { bundle };
  const ofVocabulary = bundle?.universal
    ? "The universal model, for any names"
    : `A model with ${bundle?.vocabulary.behaviors.length - 1} behaviors, and your habits`;
  $("model").textContent = bundle ? ofVocabulary : "Your habits alone, no model";
  const names = bundle?.shape ? bundle.vocabulary.events.slice(1) : EVERYDAY;

  const tell = async (event) => {
    if (event === "") return;
    const location = $("location").value || null;
    const noted = predictor.observe(event, { location });
    await history.add(noted);
    await show(predictor);
  };
  $("events").append(
    ...names.slice(0, NUM_BUTTONS).map((name) =>
      element("button", { textContent: name, title: name, onclick: () => tell(name) }),
    ),
  );
  $("names").append(...names.map((name) => element("option", { value: name })));
  $("location").append(
    element("option", { value: "", textContent: "Anywhere" }),
    ...LOCATIONS.map((name) => element("option", { value: name, textContent: name })),
  );
  $("other").onsubmit = (submitted) => {
    submitted.preventDefault();
    tell($("name").value.trim());
    $("name").value = "";
  };
  $("forget").onclick = async () => {
    predictor.forget();
    await history.forget();
    await show(predictor);
  };
  await show(predictor);
  await prepareOffline();
  document.body.dataset.ready = ""; // for tests
}

main().catch((error) => {
  $("model").textContent = `This does not work here: ${error.message}`;
  throw error;
});
