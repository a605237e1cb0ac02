/** On-device next-behavior prediction: observe what a user does, predict what comes next. */

/** A tensor of ONNX Runtime, as far as it is used here. */
export interface Tensor {
  readonly data: unknown;
}

export interface Session {
  readonly inputNames: readonly string[];
  run(feeds: Record<string, unknown>): Promise<Record<string, Tensor>>;
}

/** The module onnxruntime-web or onnxruntime-node. */
export interface OnnxRuntime {
  readonly InferenceSession: { create(model: Uint8Array, options?: object): Promise<unknown> };
  readonly Tensor: unknown;
}

/** Reads a file of a bundle's folder. */
export type ReadFile = (name: string) => Promise<Uint8Array>;

/** Names by id; id 0 is `<unknown>`. */
export interface Vocabulary {
  readonly events: readonly string[];
  readonly locations: readonly string[];
  readonly behaviors: readonly string[];
  /** Id of the behavior of each event; -1: input only, never predicted. */
  readonly eventToBehavior: readonly number[];
  eventId(name: string): number;
  locationId(name: string | null): number;
  behaviorId(name: string): number;
}

/** A bundle that `openBundle` has opened. */
export interface Bundle {
  readonly vocabulary: Vocabulary;
  /** Numbers of the model; not there in a universal bundle. */
  readonly shape?: { readonly history_events: number; readonly query_context: string; readonly [name: string]: unknown };
  /** Numbers of the model of a universal bundle. */
  readonly universal?: { readonly history_events: number; readonly [name: string]: number };
  /** The graph of waiting times, which `within` needs; null: none. */
  readonly wait?: unknown;
}

/**
 * Reads, verifies and opens a bundle of `edgebehave export --target web`, or a universal bundle.
 * Throws an Error that says what is wrong with it.
 */
export function openBundle(ort: OnnxRuntime, read: ReadFile): Promise<Bundle>;

/** Reads the files of a bundle in the folder at a URL, by fetch. */
export function filesAt(url: string | URL): ReadFile;

/** A name as it is; of one of more than 1,024 bytes the first 200 characters, `~` and the SHA-256 of its UTF-8. */
export function boundedName(name: string): string;

/** The candidate for no behavior `within` the given time. */
export const NOTHING: "<nothing>";

/** An event as it is retained. */
export interface UserEvent {
  event: string;
  location: string | null;
  /** Unix seconds. */
  at: number;
  /** Minutes to add for local time. */
  utcOffsetMin: number;
}

/** The retained events, oldest first, and how many there ever were. */
export interface History {
  events: UserEvent[];
  count: number;
}

export interface Prediction {
  behavior: string;
  /** 0..1 */
  probability: number;
}

/** A Date, or unix seconds. */
export type At = Date | number;

export interface RetentionOptions {
  /** Events to retain; by default 512, or as many as the bundle needs. */
  maxEvents?: number;
  /** Seconds after which events are dropped; null: none is too old. */
  maxAgeS?: number | null;
}

export interface PredictorOptions extends RetentionOptions {
  /** Answers for users whose names the vocabulary of the bundle hardly holds, see `knownShare`. */
  universal?: Bundle | null;
  /** How far after the device's clock an event may be dated, in seconds, by default a day; null: any time. */
  maxAheadS?: number | null;
}

export interface When {
  /** The moment, by default now; null (for questions alone): not known. */
  at?: At | null;
  location?: string | null;
  /** Minutes to add for local time; by default the system's for a Date, that of the latest event for a number. */
  utcOffsetMin?: number | null;
}

export interface PredictOptions extends When {
  /** Number of predictions, by default 5. */
  k?: number;
  /** Strength of the shift toward rare behaviors, 0..1; above 0 it needs a bundle with a vocabulary. */
  tail?: number;
  /** Seconds in which the next behavior comes; `NOTHING` is then a candidate. */
  within?: number | null;
  /** 0..1; if the most probable behavior has less, the answer is []. */
  minConfidence?: number;
}

export interface PredictionSetOptions extends When {
  /** Share of the cases in which the set holds the next behavior, 0..1, by default 0.9. */
  coverage?: number;
}

/** Predictions for one user; they are a function of the retained events and of the number of events. */
export class Predictor {
  /**
   * @param bundle from `openBundle`; null: habits alone predict, from the first event on.
   * @param history what `history` of an earlier predictor was, or `StoredHistory.read()`.
   */
  constructor(bundle?: Bundle | null, history?: History, options?: PredictorOptions);

  readonly history: History;

  /** Share of the retained events whose behavior the vocabulary of the bundle holds, 0..1; null without any. */
  readonly knownShare: number | null;

  /** Takes note of an event. Returns it as it is retained; null if it was there already. */
  observe(event: string, when?: When & { at?: At }): UserEvent | null;

  /** The k most probable next behaviors, the most probable first. */
  predict(options?: PredictOptions): Promise<Prediction[]>;

  /** The smallest set that holds the next behavior in a share `coverage` of the cases. */
  predictionSet(options?: PredictionSetOptions): Promise<Prediction[]>;

  /** Drops everything about the user. */
  forget(): void;

  /** Erases the retained events that fit all that is given, as if they had never been. Returns their number. */
  forgetEvents(match: { event?: string; location?: string; at?: At; until?: At }): number;

  /** The history as JSON text, names included; `import_user` of the SDK in Python reads it, too. */
  exportUser(): string;

  /** Reads such text into a predictor without events. */
  importUser(text: string): void;
}

/** The history of one user in IndexedDB. */
export class StoredHistory {
  private constructor();

  /** @param retention as for the `Predictor`; a number is `maxEvents`. */
  static open(name: string, retention?: number | RetentionOptions): Promise<StoredHistory>;

  read(): Promise<History>;

  /** Keeps what `observe` returned. Resolves once it is on disk. */
  add(event: UserEvent | null): Promise<void>;

  /** Keeps the `history` of a predictor in place of what is here: after `forgetEvents` and `importUser`. */
  replace(history: History): Promise<void>;

  /** Deletes the whole database. */
  forget(): Promise<void>;
}
