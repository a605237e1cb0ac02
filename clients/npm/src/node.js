/** Bundles on the disk, for Node. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the universal bundle that comes with this package: a model for any names. */
export const UNIVERSAL = fileURLToPath(new URL("../universal", import.meta.url));

/** Reads the files of a bundle in a folder, for `openBundle`. */
export const filesIn = (folder) => (name) => readFile(join(folder, name));
