/**
 * Check that ONNX Runtime in Node predicts what golden vectors say.
 *
 *     npm ci --ignore-scripts
 *     node check_golden.js BUNDLE GOLDEN
 *
 * BUNDLE is from `edgebehave export --target web --golden GOLDEN`. Prints one line of JSON; fails
 * unless the best behavior is the same for every history.
 */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openBundle } from "edgebehave";
import { checkGolden, readGolden } from "edgebehave/golden";
import * as ort from "onnxruntime-node";

const [folder, file] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: node check_golden.js BUNDLE GOLDEN");
  process.exit(2);
}
const golden = await readGolden(await readFile(file));
const manifest = createHash("sha256").update(await readFile(join(folder, "manifest.json")));
if (golden[0].manifest !== manifest.digest("hex")) {
  console.error(`${file} was not made from ${folder}; export both again`);
  process.exit(2);
}
const bundle = await openBundle(ort, (name) => readFile(join(folder, name)));
const started = performance.now();
const report = await checkGolden(bundle, golden);
const seconds = Math.round(performance.now() - started) / 1000;
console.log(JSON.stringify({ runtime: `Node ${process.version}`, ...report, seconds }));
process.exit(report.sameTop1 === report.histories ? 0 : 1);
