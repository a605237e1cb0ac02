/**
 * On-device next-behavior prediction: observe what a user does, predict what comes next.
 *
 *     const bundle = await openBundle(ort, filesAt("bundle"));
 *     const predictor = new Predictor(bundle);           // or new Predictor(): habits alone
 *     predictor.observe("camera.open", { location: "home" });
 *     for (const { behavior, probability } of await predictor.predict({ k: 3 })) ...
 */

export { NOTHING } from "./src/answers.js";
export { filesAt, openBundle } from "./src/bundle.js";
export { boundedName } from "./src/names.js";
export { Predictor } from "./src/predictor.js";
export { StoredHistory } from "./src/stored_history.js";
