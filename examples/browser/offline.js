/**
 * Service worker: keeps whole sets of files, so that the page works without a network.
 *
 * A set is the page, the runtime, or a bundle. Each is saved as one: all of its files come from the
 * network into a cache of their own, the mark of completeness comes last, and only a cache with the mark
 * answers. So there is no time at which half a set, or a mixture of two versions of it, is in use.
 *
 * The page asks `{ save: { folders, withRuntime } }` with the folders where it looks for a bundle, and gets
 * `{ saved, isNew, reason }`: whether it works offline now, and whether a version other than the running
 * one lies ready for the next start.
 */

const RUNTIME = [
  ...["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"],
].map((name) => `node_modules/onnxruntime-web/dist/${name}`);
const PREFIX = "edgebehave";
const MARK = "complete"; // the entry of a cache that holds all files of its set
const LINKED = /(?:href|src)="([\w./-]+)"/g; // in HTML
const IMPORTED = /(?:from|import)\s*\(?\s*"(\.[\w./-]+)"/g; // in modules

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("message", (event) => {
  event.waitUntil(save(event.data.save).then((answer) => event.ports[0].postMessage(answer)));
});
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

/** From a complete set, else from the network. */
async function answer(request) {
  const isPage = request.mode === "navigate";
  const url = new URL(request.url);
  if (isPage && url.pathname.endsWith("/")) url.pathname += "index.html";
  for (const name of await completeCaches()) {
    const known = await (await caches.open(name)).match(isPage ? url : request, { ignoreSearch: isPage });
    if (known) return known;
  }
  return fetch(request);
}

/** Names of the caches of complete sets; unfinished ones answer nothing. */
async function completeCaches() {
  const names = (await caches.keys()).filter((name) => name.startsWith(`${PREFIX} `));
  const complete = await Promise.all(names.map(async (name) => (await caches.open(name)).match(MARK)));
  return names.filter((_, i) => complete[i]);
}

let saving = Promise.resolve(); // one after the other, so that two tabs do not delete each other's work

function save(wanted) {
  const saved = saving.then(() => saveAll(wanted));
  saving = saved.catch(() => {});
  return saved.catch((error) => ({ saved: false, isNew: false, reason: error.message }));
}

async function saveAll({ folders, withRuntime }) {
  const bundles = folders.map((folder) => [`bundle ${encodeURIComponent(folder)}`, () => filesOfBundle(folder)]);
  const sets = [["page", filesOfPage], ...bundles];
  if (withRuntime) sets.push(["runtime", async () => RUNTIME]);
  let isNew = false;
  for (const [set, files] of sets) isNew = (await saveSet(set, files)) || isNew;
  return { saved: true, isNew };
}

/** The page and all that it links to or imports, one from the other. */
async function filesOfPage() {
  const found = new Set([new URL("index.html", self.location).href]);
  for (const url of found) {
    if (!/\.(html|js)$/.test(url)) continue;
    const text = await (await fresh(url)).text();
    for (const [, path] of text.matchAll(url.endsWith(".html") ? LINKED : IMPORTED)) found.add(new URL(path, url).href);
  }
  return [...found];
}

async function filesOfBundle(folder) {
  const manifest = await fresh(`${folder}/manifest.json`);
  if (manifest.status === 404) return [`${folder}/manifest.json`]; // there is none, which is worth knowing offline
  const { files } = await manifest.json();
  return ["manifest.json", ...Object.keys(files)].map((name) => `${folder}/${name}`);
}

/**
 * Save a set, unless what is saved is what the server has. Without a network the saved set stays.
 *
 * files  async () => addresses.
 * Returns whether a set was replaced. Throws an Error if the set is not complete afterwards.
 */
async function saveSet(set, files) {
  const old = (await completeCaches()).find((name) => name.startsWith(`${PREFIX} ${set} `));
  let urls, responses;
  try {
    urls = await files();
    responses = await Promise.all(urls.map(fresh));
  } catch (error) {
    if (old) return false;
    throw error;
  }
  if (old && (await isSame(await caches.open(old), urls, responses))) return false;
  const name = `${PREFIX} ${set} ${Date.now()}`;
  const cache = await caches.open(name);
  try {
    await Promise.all(responses.map((response, i) => cache.put(urls[i], kept(response))));
    await cache.put(MARK, new Response());
  } catch (error) {
    await caches.delete(name);
    if (old) return false;
    throw error;
  }
  for (const other of await caches.keys()) {
    if (other.startsWith(`${PREFIX} ${set} `) && other !== name) await caches.delete(other);
  }
  return Boolean(old);
}

/** A file as the server has it now. Throws if it is missing, other than a manifest. */
async function fresh(url) {
  const response = await fetch(new Request(url, { cache: "no-cache" }));
  const isMissingBundle = response.status === 404 && url.endsWith("/manifest.json");
  if (!response.ok && !isMissingBundle) throw new Error(`${url} cannot be read: ${response.status}`);
  return response;
}

/** A response that the browser asks this service worker for each time, so that it keeps no older one itself. */
function kept({ body, status, headers }) {
  const told = new Headers(headers);
  told.set("Cache-Control", "no-cache");
  return new Response(body, { status, headers: told });
}

async function isSame(cache, urls, responses) {
  if ((await cache.keys()).length !== urls.length + 1) return false;
  const known = await Promise.all(urls.map((url) => cache.match(url)));
  return known.every((old, i) => {
    if (old?.status !== responses[i].status) return false;
    if (!old.ok) return true;
    const told = ["etag", "last-modified", "content-length"].map((header) => [
      old.headers.get(header),
      responses[i].headers.get(header),
    ]);
    return told.every(([before, now]) => before === now) && told.slice(0, 2).some(([before]) => before !== null);
  });
}
