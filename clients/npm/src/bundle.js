/** Bundles of `edgebehave export --target web`, and universal bundles: read, verified and opened. */

import { Thresholds } from "./answers.js";
import { sha256 } from "./sha256.js";

export const UNKNOWN = 0; // id of names that a vocabulary lacks, and of no location
export const NO_BEHAVIOR = -1; // of an event that is input only
const FORMAT_VERSION = 2;

/**
 * Read, verify and open a bundle.
 *
 * ort   the module onnxruntime-web or onnxruntime-node.
 * read  async (name) => Uint8Array, a file of the bundle's folder; `filesAt(url)` makes one.
 * Throws an Error that says what is wrong with the bundle.
 */
export async function openBundle(ort, read) {
  const text = new TextDecoder().decode(await read("manifest.json"));
  const manifest = JSON.parse(text);
  const isUniversal = manifest.kind === "universal";
  if (manifest.format_version !== FORMAT_VERSION || !(isUniversal || manifest.target === "web")) {
    throw new Error(
      `this client reads bundles of format ${FORMAT_VERSION} for the web, got format ` +
        `${manifest.format_version} for ${manifest.target}; export again with --target web`,
    );
  }
  const verify = async (name, content, digest) => {
    if ((await digestOf(content)) !== digest) {
      throw new Error(`${name} of the bundle is damaged: its SHA-256 is another; copy it again`);
    }
    return content;
  };
  // The manifest holds the digests of the other files, and its own digest with zeros in place of it.
  const undigested = text.replace(/("digest": ")[0-9a-f]{64}(?=")/, `$1${"0".repeat(64)}`);
  await verify("manifest.json", new TextEncoder().encode(undigested), manifest.digest);
  const verified = async (name) => verify(name, await read(name), manifest.files[name]?.sha256);
  // The graphs are so small that a second thread costs more than it does.
  const options = { intraOpNumThreads: 1, interOpNumThreads: 1 };
  const load = async (name) => {
    const graph = await verified(name);
    return oneAtATime(await queued(() => ort.InferenceSession.create(graph, options)));
  };
  const hasFile = (name) => name in manifest.files;
  if (isUniversal) {
    const predict = await load("predict.onnx");
    return { ort, universal: manifest.model, vocabulary: NO_VOCABULARY, predict };
  }
  const vocabulary = JSON.parse(new TextDecoder().decode(await verified("vocabulary.json")));
  return {
    ort,
    shape: manifest.model,
    classPriors: Float32Array.from(manifest.class_priors),
    tailLogRatio: manifest.tail.log_ratio,
    thresholds: new Thresholds(manifest.conformal),
    vocabulary: {
      events: vocabulary.events,
      locations: vocabulary.locations,
      behaviors: vocabulary.behaviors,
      eventToBehavior: vocabulary.event_to_behavior,
      eventId: idsOf(vocabulary.events),
      locationId: idsOf(vocabulary.locations),
      behaviorId: idsOf(vocabulary.behaviors),
    },
    observe: await load("observe.onnx"),
    predict: await load("predict.onnx"),
    wait: hasFile("wait.onnx") ? await load("wait.onnx") : null,
  };
}

let running = Promise.resolve();

/**
 * Do something with the runtime after all that was asked of it before: onnxruntime-web has one stack, and two runs at the
 * same time, even of different graphs, overwrite each other's part of it.
 */
function queued(action) {
  const done = running.then(action);
  running = done.catch(() => {});
  return done;
}

function oneAtATime(session) {
  return { inputNames: session.inputNames, run: (feeds) => queued(() => session.run(feeds)) };
}

/** Reads the files of a bundle in the folder at a URL, for `openBundle`. */
export function filesAt(url) {
  const folder = `${url}`.replace(/\/?$/, "/");
  return async (name) => {
    const response = await fetch(folder + name);
    if (!response.ok) throw new Error(`${folder}${name} cannot be read: ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
}

async function digestOf(content) {
  if (!globalThis.crypto?.subtle) return sha256(content); // a page that is not secure
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** name => id, UNKNOWN for names that are not listed and for null. */
function idsOf(names) {
  const ids = new Map(names.map((name, id) => [name, id]));
  return (name) => ids.get(name) ?? UNKNOWN;
}

const NO_NAMES = ["<unknown>"];

/** Of universal bundles and of habits alone: every name is one of the user's own. */
export const NO_VOCABULARY = {
  events: NO_NAMES,
  locations: NO_NAMES,
  behaviors: NO_NAMES,
  eventToBehavior: [UNKNOWN],
  eventId: () => UNKNOWN,
  locationId: () => UNKNOWN,
  behaviorId: () => UNKNOWN,
};
