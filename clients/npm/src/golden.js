/**
 * Check that this runtime predicts what golden vectors say; see `edgebehave export --golden`.
 */

import { Predictor } from "./predictor.js";

/** The lines of a golden file: its header, then one object per history. */
export async function readGolden(gzipped) {
  const text = new Response(new Blob([gzipped]).stream().pipeThrough(new DecompressionStream("gzip")));
  return (await text.text()).trimEnd().split("\n").map((line) => JSON.parse(line));
}

/**
 * Play all histories of a golden file.
 *
 * bundle  from `openBundle`.
 * Returns the number of histories, on how many the best behavior and the best five are the same,
 * the largest difference of a probability, and the histories whose best behavior differs.
 */
export async function checkGolden(bundle, [header, ...lines]) {
  const report = { histories: lines.length, sameTop1: 0, sameTop5: 0, largestDifference: 0, wrong: [] };
  for (const [number, line] of lines.entries()) {
    const predictor = new Predictor(bundle, undefined, { maxAheadS: null });
    let at = 0;
    line.event.forEach((event, i) => {
      at += line.time_step_s[i];
      const location = header.locations[line.location[i]];
      const utcOffsetMin = line.utc_offset_min[i];
      predictor.observe(header.events[event], { at, location, utcOffsetMin });
    });
    const answers = await predictor.predict({ at: line.at, utcOffsetMin: line.at_utc_offset_min });
    const expected = new Map(line.expected);
    if (answers[0].behavior === line.expected[0][0]) report.sameTop1 += 1;
    else report.wrong.push({ number, expected: line.expected, answers });
    if (answers.every(({ behavior }) => expected.has(behavior))) report.sameTop5 += 1;
    for (const { behavior, probability } of answers) {
      const difference = Math.abs(probability - (expected.get(behavior) ?? probability));
      report.largestDifference = Math.max(report.largestDifference, difference);
    }
  }
  return report;
}
