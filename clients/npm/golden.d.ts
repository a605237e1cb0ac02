import type { Bundle, Prediction } from "./index.js";

/** The lines of a file of golden vectors, which `edgebehave export --golden` writes: its header, then the histories. */
export function readGolden(gzipped: BufferSource): Promise<object[]>;

export interface GoldenReport {
  histories: number;
  /** On how many histories the best behavior, and the best five, are the same. */
  sameTop1: number;
  sameTop5: number;
  largestDifference: number;
  wrong: { number: number; expected: [string, number][]; answers: Prediction[] }[];
}

/** Plays all histories of a file of golden vectors. */
export function checkGolden(bundle: Bundle, lines: object[]): Promise<GoldenReport>;
