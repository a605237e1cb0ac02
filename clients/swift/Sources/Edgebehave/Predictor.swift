/*
 * On-device next-behavior prediction: observe what a user does, predict what comes next.
 *
 * NOT COMPILED YET: no Swift toolchain was at hand. A translation, part by part, of clients/kotlin, which is tested;
 * check it with golden vectors before use.
 *
 *     let bundle = try ModelBundle(folder: url)           // its graphs are opened from there
 *     let predictor = try Predictor(bundle)               // or Predictor(): habits alone
 *     try predictor.observe("camera.open", location: "home")
 *     for one in try predictor.predict(k: 3) { print(one.behavior, one.probability) }
 */

import Foundation

private let historyEvents = 512
private let aDayS = 86_400

// A bundle whose vocabulary holds a lower share of at least so many behaviors of a user was made for another log.
private let foreignShare = 0.2
private let foreignEvents = 5

/// Predictions for one user; they are a function of the retained events and of the number of events.
///
/// Calls from several threads wait for each other; predict off the main thread.
public final class Predictor {
  private let bundle: ModelBundle?
  private let vocabulary: Vocabulary
  private let capacity: Int
  private let maxAheadS: Int?
  private let network: Network?
  private let universal: Universal?
  private var kept: UserHistory
  private let lock = NSLock()

  /// The answer to a question: all candidates, and whether the universal model gave it.
  private struct Answer {
    let names: [String]
    let probs: [Float]
    let isNameFree: Bool
  }

  /// - bundle: nil: habits alone predict, from the first event on.
  /// - history: what `history` of an earlier predictor was.
  /// - universal: a universal bundle that answers for users whose names `bundle` hardly holds, see `knownShare`.
  /// - maxEvents: events to retain, or as many as the bundle needs if that is more; maxAgeS: none older than this.
  /// - maxAheadS: `observe` refuses an event dated further after the device's clock; nil: any time, as for a replay.
  public init(
    _ bundle: ModelBundle? = nil, history: History = History(), universal: ModelBundle? = nil,
    maxEvents: Int? = nil, maxAgeS: Int? = nil, maxAheadS: Int? = 86_400
  ) throws {
    let isNamed = bundle.map { !$0.isUniversal } ?? false
    if let universal, !(universal.isUniversal && isNamed) {
      throw PredictorError("universal is a universal bundle beside a bundle with a vocabulary")
    }
    self.bundle = bundle
    vocabulary = bundle?.vocabulary ?? .empty
    capacity = bundle?["history_events"] ?? historyEvents
    self.maxAheadS = maxAheadS
    network = isNamed ? Network(bundle!) : nil
    self.universal = (universal ?? (isNamed ? nil : bundle)).map { Universal($0) }
    kept = UserHistory(try Retention(maxEvents: max(maxEvents ?? historyEvents, capacity), maxAgeS: maxAgeS))
    kept.put(history)
  }

  public var history: History { locked { currentHistory } }

  private var currentHistory: History {
    var history = History()
    (history.events, history.count) = (kept.events, kept.count)
    return history
  }

  /// The share of the retained events with a behavior whose behavior the vocabulary holds, 0..1; nil without any.
  ///
  /// From five such events on, a share below a fifth says that the bundle was made for another log.
  public var knownShare: Double? {
    locked {
      let (known, all) = knownBehaviors()
      return all > 0 ? Double(known) / Double(all) : nil
    }
  }

  private func knownBehaviors() -> (known: Int, all: Int) {
    let ids = latest.map { vocabulary.behaviorOf($0.event) }.filter { $0 != noBehavior }
    return (ids.filter { $0 != nil && $0 != unknown }.count, ids.count)
  }

  /// The retained events from which predictions are made.
  private var latest: [Event] { Array(kept.events.suffix(capacity)) }

  private func locked<Result>(_ body: () throws -> Result) rethrows -> Result {
    lock.lock()
    defer { lock.unlock() }
    return try body()
  }

  /// Take note of an event; no graph runs. Late events go to their position in time.
  ///
  /// Returns the event as it is retained; nil if it was there already: equal in event, location, second and offset.
  @discardableResult
  public func observe(
    _ event: String, location: String? = nil, at: Date = Date(), utcOffsetMin: Int? = nil
  ) throws -> Event? {
    let moment = try Moment(at, utcOffsetMin)
    let aheadS = moment.at - Int(Date().timeIntervalSince1970)
    if let maxAheadS, aheadS > maxAheadS {
      throw PredictorError(
        "the event is dated \(aheadS / aDayS) days after this device's clock: correct its time, "
          + "or pass maxAheadS: nil to replay a log")
    }
    let noted = Event(
      event: try checkedName(event, "event"), location: try location.map { try checkedName($0, "location") },
      at: moment.at, utcOffsetMin: moment.utcOffsetMin)
    return locked { kept.add(noted) ? noted : nil }
  }

  /// Drop everything about the user.
  public func forget() {
    _ = locked { kept.erase { _ in true } }
  }

  /// Erase the retained events that fit all that is given, at least one thing, as if they had never been: `at` is the
  /// second of the event, or with `until` the first of a span. Returns their number.
  public func forgetEvents(
    _ event: String? = nil, location: String? = nil, at: Date? = nil, until: Date? = nil
  ) throws -> Int {
    if event == nil && location == nil && at == nil && until == nil {
      throw PredictorError("forgetEvents needs an event, a location, at or until; see forget")
    }
    let name = try event.map { ExactName(try checkedName($0, "event")) }
    let place = try location.map { ExactName(try checkedName($0, "location")) }
    let (first, last) = (try at.map { try Moment($0, 0).at }, try until.map { try Moment($0, 0).at })
    let (firstS, lastS) = (first ?? 0, last ?? first ?? latestS)
    if lastS < firstS { throw PredictorError("until lies \(firstS - lastS) s before at") }
    return locked {
      kept.erase {
        (name == nil || ExactName($0.event) == name) && (place == nil || $0.location.map(ExactName.init) == place)
          && $0.at >= firstS && $0.at <= lastS
      }
    }
  }

  /// The history as JSON text, names included, for `importUser` here or `import_user` of the SDK in Python.
  public func exportUser() throws -> String {
    let history = self.history
    if history.events.isEmpty { throw PredictorError("there is no event to export") }
    return writeUser(history)
  }

  /// Read such text into a predictor without events. Throws if it is something else, and then changes nothing.
  public func importUser(_ text: String) throws {
    let imported = try readUser(text)
    try locked {
      if !kept.events.isEmpty { throw PredictorError("there is a history already: forget it first") }
      kept.put(imported)
    }
  }

  /// The k most probable next behaviors, the most probable first.
  ///
  /// - at: nil: the moment is not known.
  /// - location: the location to predict for, for bundles with query_context "time_location".
  /// - tail: strength of the shift toward rare behaviors, 0..1; above 0 it needs a bundle with a vocabulary.
  /// - withinS: predict the next behavior within so many seconds after `at`; `nothing` is then a candidate. Needs a
  ///   bundle whose model was trained with generation heads.
  /// - minConfidence: if the most probable behavior has less, the answer is empty.
  public func predict(
    k: Int = 5, at: Date? = Date(), location: String? = nil, utcOffsetMin: Int? = nil, tail: Double = 0,
    withinS: Double? = nil, minConfidence: Double = 0
  ) throws -> [Prediction] {
    if k < 1 { throw PredictorError("k must be at least 1, got \(k)") }
    try checkShare(minConfidence, "minConfidence")
    let moment = try at.map { try Moment($0, utcOffsetMin) }
    let answer = try locked { try self.answer(moment, location, tail, withinS) }
    let best = bestFirst(answer.probs).prefix(k)
    guard let first = best.first, answer.probs[first] >= Float(minConfidence) else { return [] }
    return best.map { Prediction(behavior: answer.names[$0], probability: answer.probs[$0]) }
  }

  /// The smallest set that holds the next behavior in a share `coverage` of the cases, the most probable first.
  ///
  /// A bundle has thresholds for every hundredth, and the next higher one is used. The universal model has none: its
  /// set is the smallest whose probabilities sum to `coverage`. Habits alone have no sets.
  public func predictionSet(
    coverage: Double = 0.9, at: Date? = Date(), location: String? = nil, utcOffsetMin: Int? = nil
  ) throws -> [Prediction] {
    try checkShare(coverage, "coverage")
    guard let bundle else { throw PredictorError("predictionSet needs a bundle; use predict") }
    let moment = try at.map { try Moment($0, utcOffsetMin) }
    let answer = try locked { try self.answer(moment, location, 0, nil) }
    if answer.names.isEmpty { return [] }
    let inside =
      answer.isNameFree
      ? mostProbable(answer.probs, coverage) : bundle.thresholds!.members(answer.probs, coverage)
    return inside.map { Prediction(behavior: answer.names[$0], probability: answer.probs[$0]) }
  }

  private func answer(_ moment: Moment?, _ location: String?, _ tail: Double, _ withinS: Double?) throws -> Answer {
    try checkShare(tail, "tail")
    if tail > 0 && network == nil { throw PredictorError("tail needs the class priors of a bundle; leave it out") }
    if location != nil && bundle?.queryContext != "time_location" {
      throw PredictorError(
        "location is not part of this prediction: it needs a bundle with query_context \"time_location\"")
    }
    var question = Question(
      events: latest, count: kept.count, changes: kept.changes, moment: moment, location: location, tail: tail)
    guard let withinS else { return try atMoment(question) }
    if !(withinS > 0) { throw PredictorError("withinS must be seconds above 0, got \(withinS)") }
    guard let wait = bundle?.wait else {
      throw PredictorError(
        "within needs a bundle that knows waiting times: train with `--set generation_heads=true` and export again")
    }
    guard let moment else { throw PredictorError("within counts from a moment: at must not be nil") }
    let (atMedian, share) = try self.wait(wait, question, moment, withinS)
    question.moment = atMedian
    let answer = try atMoment(question)
    let probs = answer.probs.map { $0 * Float(1 - share) } + [Float(share)]
    return Answer(names: answer.names + [nothing], probs: probs, isNameFree: answer.isNameFree)
  }

  /// Whether the bundle was made for a log of other names.
  private func isForeign() -> Bool {
    let (known, all) = knownBehaviors()
    return all >= foreignEvents && Double(known) < foreignShare * Double(all)
  }

  private func atMoment(_ question: Question) throws -> Answer {
    if let universal, network == nil || isForeign() {
      if question.events.isEmpty { return Answer(names: [], probs: [], isNameFree: true) }
      let (names, probs) = try universal.probs(question, vocabulary)
      return Answer(names: names, probs: probs, isNameFree: true)
    }
    let past = try pastOf(question)
    guard let bundle, let network else {
      let probs = habitsAlone(past.behaviors, past.names.count, question.moment)
      return Answer(names: past.names, probs: probs, isNameFree: false)
    }
    let probs: [Float]
    if question.events.isEmpty || (bundle["habits"] != 0 && past.behaviors.isEmpty) {
      let priors = bundle.classPriors
      let all = question.tail > 0 ? shifted(priors, bundle.tailLogRatio, question.tail) : priors
      probs = Array(all.dropFirst())  // id 0 is the unknown behavior
    } else {
      probs = try run(bundle, network, question, past)
    }
    return Answer(names: past.names, probs: probs, isNameFree: false)
  }

  private func pastOf(_ question: Question) throws -> Past {
    try Past(
      question.events, vocabulary, numEvents: bundle?["habit_events"] ?? historyEvents,
      numSpare: bundle?["num_spare"] ?? historyEvents)
  }

  /// Probabilities of the candidates from predict.onnx.
  private func run(
    _ bundle: ModelBundle, _ network: Network, _ question: Question, _ past: Past
  ) throws -> [Float] {
    let moment = question.moment
    let inputs: [String: Tensor] = [
      "hidden": try network.hidden(question),
      "tail": .floats([Float(question.tail)], []),
      "time_s": .long(moment?.at ?? 0),
      "utc_offset_min": .long(moment?.utcOffsetMin ?? 0),
      "time_known": .long(moment == nil ? 0 : 1),
      "location": .long(vocabulary.locationId(question.location)),
      "history": past.tensor,
    ]
    let taken = inputs.filter { bundle.predict.inputNames.contains($0.key) }
    let probs = try bundle.predict.run(taken, ["probs"])[0]
    return Array(probs.dropFirst().prefix(past.names.count))  // id 0 is the unknown behavior
  }

  /// The median moment of the next behavior if it comes in time, and p(nothing comes).
  private func wait(
    _ graph: Graph, _ question: Question, _ moment: Moment, _ withinS: Double
  ) throws -> (Moment, Double) {
    let past = try pastOf(question)
    guard let last = past.behaviors.last, let network else {
      throw PredictorError("within counts from a last behavior, and there is none yet")
    }
    let inputs: [String: Tensor] = [
      "hidden": try network.hidden(question), "history": past.tensor,
      "num_real": .longs([past.behaviors.count], []),
    ]
    let outputs = try graph.run(inputs, ["gap_s", "probs"])
    let gap = WaitingTime(gapS: outputs[0], probs: outputs[1])
    let waitedS = Double(max(0, moment.at - last.moment.at))
    let medianS = Int(gap.median(waitedS, waitedS + withinS))
    let atMedian = try Moment(at: last.moment.at + medianS, utcOffsetMin: moment.utcOffsetMin)
    return (atMedian, gap.nothingWithin(waitedS, withinS))
  }
}

private func checkShare(_ value: Double, _ what: String) throws {
  if !(value >= 0 && value <= 1) { throw PredictorError("\(what) must lie in 0..1, got \(value)") }
}
