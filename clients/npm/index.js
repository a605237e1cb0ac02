/** On-device next-behavior prediction: observe what a user does, predict what comes next. */

export { openBundle } from "./src/bundle.js";
export { Predictor } from "./src/predictor.js";
export { StoredHistory } from "./src/stored_history.js";
