// What an app in TypeScript writes: it must compile against the types of the package and of its peers.

import * as web from "onnxruntime-web";
import * as ort from "onnxruntime-node";

import { boundedName, filesAt, NOTHING, openBundle, Predictor, StoredHistory } from "edgebehave";
import type { Bundle, History, Prediction, UserEvent } from "edgebehave";
import { checkGolden, readGolden } from "edgebehave/golden";
import { filesIn, UNIVERSAL } from "edgebehave/node";

const named: Bundle = await openBundle(web, filesAt("bundle"));
const universal = await openBundle(ort, filesIn(UNIVERSAL));
const stored = await StoredHistory.open("history", { maxEvents: 1000, maxAgeS: null });
const predictor = new Predictor(named, await stored.read(), { universal, maxAgeS: 90 * 86_400 });

const noted: UserEvent | null = predictor.observe("mail", { at: new Date(), location: "home" });
await stored.add(noted);
const best: Prediction[] = await predictor.predict({ k: 3, tail: 0.5, within: 3600, minConfidence: 0.2, at: 1.8e9 });
const isQuiet: boolean = best.some(({ behavior }) => behavior === NOTHING);
const inside: string[] = (await predictor.predictionSet({ coverage: 0.8, at: null })).map(({ behavior }) => behavior);
const numErased: number = predictor.forgetEvents({ event: "mail", until: new Date() });
const copy = new Predictor();
copy.importUser(predictor.exportUser());
const history: History = copy.history;
await stored.replace(history);
const share: number | null = predictor.knownShare;
const report = await checkGolden(universal, await readGolden(new Uint8Array()));
console.log(isQuiet, inside, numErased, share, report.sameTop1, boundedName("x"), named.vocabulary.behaviors[1]);
predictor.forget();
await stored.forget();

// @ts-expect-error a name is a string
predictor.observe(3);
// @ts-expect-error an event has a time
predictor.observe("mail", { at: null });
// @ts-expect-error no such option
void predictor.predict({ dial: 1 });
