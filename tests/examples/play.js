/**
 * Play scenarios through the JavaScript client; JSON on stdin and stdout.
 *
 * In: { bundle: folder or null, steps: [["observe", name, options] | ["predict", options] |
 * ["forget"] | ["restore"]] }. Out: what each "predict" answered.
 */

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

import { openBundle, Predictor } from "../../clients/npm/index.js";

const require = createRequire(new URL("../../examples/node/package.json", import.meta.url));
const { bundle: folder, steps } = JSON.parse(await readFile("/dev/stdin", "utf8"));
const bundle =
  folder && (await openBundle(require("onnxruntime-node"), (name) => readFile(join(folder, name))));
let predictor = new Predictor(bundle);
const answers = [];
for (const [step, ...given] of steps) {
  if (step === "observe") predictor.observe(...given);
  if (step === "predict") answers.push(predictor.predict(...given)); // answered while events come
  if (step === "wait") await Promise.all(answers);
  if (step === "forget") predictor.forget();
  if (step === "restore") predictor = new Predictor(bundle, JSON.parse(JSON.stringify(predictor.history)));
}
console.log(JSON.stringify(await Promise.all(answers)));
