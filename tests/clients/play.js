/**
 * Play a scenario through the package; JSON on stdin and stdout.
 *
 * In: { bundle: folder or null, options: of the Predictor, universal: folder, steps: [[step, ...arguments], ...] }. A step
 * is a method of `Predictor`, one of its properties, or
 *   ["wait"]     for all answers so far,
 *   ["restore"]  a new predictor from the history of the old one.
 * Out: what each step answered but observe, forget, importUser, wait and restore.
 */

import { readFile } from "node:fs/promises";

import { openBundle, Predictor } from "edgebehave";
import { filesIn } from "edgebehave/node";
import * as ort from "onnxruntime-node";

const SILENT = ["observe", "forget", "importUser"];

const { bundle: folder, options = {}, universal, steps } = JSON.parse(await readFile("/dev/stdin", "utf8"));
const open = (name) => (name ? openBundle(ort, filesIn(name)) : null);
const bundle = await open(folder);
const given = { ...options, universal: await open(universal) };
const answers = [];
let predictor = new Predictor(bundle, undefined, given);
for (const [step, ...told] of steps) {
  if (step === "wait") await Promise.all(answers);
  else if (step === "restore") predictor = new Predictor(bundle, JSON.parse(JSON.stringify(predictor.history)), given);
  else {
    const answer = typeof predictor[step] === "function" ? predictor[step](...told) : predictor[step];
    if (!SILENT.includes(step)) answers.push(answer); // promises: answered while events come
  }
}
console.log(JSON.stringify(await Promise.all(answers)));
