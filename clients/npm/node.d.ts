import type { ReadFile } from "./index.js";

/** The folder of the universal bundle that comes with this package: a model for any names. */
export const UNIVERSAL: string;

/** Reads the files of a bundle in a folder, for `openBundle`. */
export function filesIn(folder: string): ReadFile;
