/*
 * On-device next-behavior prediction for iOS: observe what a user does, predict what comes next.
 *
 * NOT COMPILED HERE: no Swift toolchain was at hand. A translation, part by part, of
 * examples/browser/edgebehave.js, which is tested; check it with golden vectors before use.
 *
 *     Package onnxruntime-swift-package-manager of ONNX Runtime, product "onnxruntime".
 *
 *     let bundle = try Bundle(folder: url)                // its graphs are opened from there
 *     let predictor = Predictor(bundle)                   // or Predictor(): habits alone
 *     try predictor.observe("camera.open", location: "home")
 *     for one in try predictor.predict(k: 3) { print(one.behavior, one.probability) }
 *
 * One predictor is one user. It runs bundles from `edgebehave export --target web`, and universal
 * bundles (edgebehave/universal_bundle), whose graphs are standard operators. All state is a function of the retained events: store `history`, pass it to
 * the next Predictor. Calls from several threads wait for each other; predict off the main thread.
 *
 * Letters in comments: L layers, D width, C cached events, V behaviors, U spare slots.
 */

import CryptoKit
import Foundation
import OnnxRuntimeBindings

private let formatVersion = 2
private let unknown = 0  // id of names that a vocabulary lacks, and of no location
private let noBehavior = -1  // of an event that is input only
private let habitEvents = 512  // events kept without a bundle
private let firstOwnLocation = 1 << 31  // id of the first location that a vocabulary lacks
private let earliestS = 631_152_000  // 1990: a time before it comes from a clock that was never set
private let latestS = 4_102_444_800  // 2100: seconds below cannot be taken for milliseconds

/// What was wrong with a bundle or an argument, and what to do.
public struct PredictorError: LocalizedError {
  public let errorDescription: String?
  init(_ description: String) { errorDescription = description }
}

/// An event as it is retained: UTC seconds, and minutes to add for local time.
public struct Event: Codable {
  public let event: String
  public let location: String?
  public let at: Int
  public let utcOffsetMin: Int
}

/// The retained events, oldest first, and how many there ever were.
public struct History: Codable {
  public var events: [Event] = []
  public var count = 0
  public init() {}
}

public struct Prediction {
  public let behavior: String
  public let probability: Double
}

/// Names and their ids, as in vocabulary.json.
struct Vocabulary {
  let behaviors: [String]
  let eventToBehavior: [Int]
  private let eventIds, locationIds, behaviorIds: [String: Int]

  init(events: [String], locations: [String], behaviors: [String], eventToBehavior: [Int]) {
    func ids(_ names: [String]) -> [String: Int] {
      Dictionary(uniqueKeysWithValues: names.enumerated().map { ($0.element, $0.offset) })
    }
    self.behaviors = behaviors
    self.eventToBehavior = eventToBehavior
    (eventIds, locationIds, behaviorIds) = (ids(events), ids(locations), ids(behaviors))
  }

  static let none = Vocabulary(
    events: ["<unknown>"], locations: ["<unknown>"], behaviors: ["<unknown>"],
    eventToBehavior: [unknown])

  func eventId(_ name: String) -> Int { eventIds[name] ?? unknown }
  func locationId(_ name: String?) -> Int { name.flatMap { locationIds[$0] } ?? unknown }
  func behaviorId(_ name: String) -> Int { behaviorIds[name] ?? unknown }
}

/// A bundle, read, verified and loaded. Throws a PredictorError that says what is wrong with it.
public final class Bundle {
  let shape: [String: Any]
  let classPriors: [Double]
  let vocabulary: Vocabulary
  let observe: ORTSession?  // nil: universal
  let predict: ORTSession
  let isUniversal: Bool
  private let environment: ORTEnv

  public init(folder: URL) throws {
    func verify(_ name: String, _ content: Data, _ digest: String?) throws -> Data {
      let sha256 = SHA256.hash(data: content).map { String(format: "%02x", $0) }.joined()
      if sha256 == digest { return content }
      throw PredictorError("\(name) of the bundle is damaged: its SHA-256 is another; copy it again")
    }
    let manifestFile = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
    guard
      let manifest = try JSONSerialization.jsonObject(with: manifestFile) as? [String: Any],
      manifest["format_version"] as? Int == formatVersion,
      manifest["kind"] as? String == "universal" || manifest["target"] as? String == "web"
    else {
      throw PredictorError(
        "this client reads bundles of format \(formatVersion) for the web; export with --target web")
    }
    // The manifest vouches for the other files, and for itself with zeros for its digest.
    let undigested = String(decoding: manifestFile, as: UTF8.self).replacingOccurrences(
      of: "(?<=\"digest\": \")[0-9a-f]{64}(?=\")", with: String(repeating: "0", count: 64),
      options: .regularExpression)
    _ = try verify("manifest.json", Data(undigested.utf8), manifest["digest"] as? String)
    let files = manifest["files"] as? [String: [String: Any]] ?? [:]
    func verified(_ name: String) throws -> Data {
      let content = try Data(contentsOf: folder.appendingPathComponent(name))
      return try verify(name, content, files[name]?["sha256"] as? String)
    }
    isUniversal = manifest["kind"] as? String == "universal"
    guard let model = manifest["model"] as? [String: Any] else {
      throw PredictorError("the bundle lacks a part; copy or export it again")
    }
    shape = model
    let environment = try ORTEnv(loggingLevel: .warning)
    // The graphs are so small that a second thread costs more than it does.
    let options = try ORTSessionOptions()
    try options.setIntraOpNumThreads(1)
    func open(_ name: String) throws -> ORTSession {
      _ = try verified(name)
      let path = folder.appendingPathComponent(name).path
      return try ORTSession(env: environment, modelPath: path, sessionOptions: options)
    }
    predict = try open("predict.onnx")
    self.environment = environment
    if isUniversal {
      (observe, vocabulary, classPriors) = (nil, .none, [])
      return
    }
    guard
      let vocabularyJson = try JSONSerialization.jsonObject(with: verified("vocabulary.json"))
        as? [String: Any],
      let events = vocabularyJson["events"] as? [String], let locations = vocabularyJson["locations"] as? [String],
      let behaviors = vocabularyJson["behaviors"] as? [String],
      let eventToBehavior = vocabularyJson["event_to_behavior"] as? [Int],
      let priors = manifest["class_priors"] as? [Double]
    else { throw PredictorError("the bundle lacks a part; copy or export it again") }
    vocabulary = Vocabulary(
      events: events, locations: locations, behaviors: behaviors, eventToBehavior: eventToBehavior)
    classPriors = priors
    observe = try open("observe.onnx")
  }

  subscript(name: String) -> Int { (shape[name] as? NSNumber)?.intValue ?? 0 }

  /// A number that bundles of a vocabulary alone have.
  func get(_ name: String, or otherwise: Int) -> Int {
    (shape[name] as? NSNumber)?.intValue ?? otherwise
  }
}

/// What the habit kernels see of an event: ids, not names.
private struct Past {
  let behavior, location, at, utcOffsetMin: Int
}

/// The network after the first `numSeen` events. cache: (2 L, C, D).
private struct State {
  var numSeen: Int
  var hidden: [Float] = []
  var cache: [Float] = []
}

/// Rows of past success, of the events before number `numSeen`, the latest last.
private struct Success {
  var numSeen: Int
  var rows: [[Float]] = []
}

/// Predictions for one user. Without a bundle habits alone predict, from the first event on.
public final class Predictor {
  private let bundle: Bundle?
  private let vocabulary: Vocabulary
  private let capacity: Int
  private var events: [Event]
  private var count: Int
  private var state: State?  // nil: to be made from the events
  private var success: Success?  // the same for a universal bundle
  private let lock = NSLock()

  public init(_ bundle: Bundle? = nil, history: History = History()) {
    self.bundle = bundle
    vocabulary = bundle?.vocabulary ?? .none
    capacity = bundle?["history_events"] ?? habitEvents
    events = Array(history.events.suffix(capacity))
    count = max(history.count, history.events.count)
  }

  public var history: History {
    lock.lock()
    defer { lock.unlock() }
    var history = History()
    (history.events, history.count) = (events, count)
    return history
  }

  /// Take note of an event; the network runs when asked to predict. Late events go to their position
  /// in time. Returns the event as it is retained.
  @discardableResult
  public func observe(
    _ event: String, location: String? = nil, at: Date = Date(), utcOffsetMin: Int? = nil
  ) throws -> Event {
    if event.isEmpty || location == "" {
      throw PredictorError("event and location must not be empty")
    }
    let moment = try Moment(at, utcOffsetMin)
    let noted = Event(
      event: event, location: location, at: moment.at, utcOffsetMin: moment.utcOffsetMin)
    lock.lock()
    defer { lock.unlock() }
    count += 1
    let position = (events.lastIndex { $0.at <= noted.at } ?? -1) + 1
    if position < events.count { (state, success) = (nil, nil) }
    events.insert(noted, at: position)
    if events.count > capacity { events.removeFirst() }
    return noted
  }

  /// Drop everything about the user.
  public func forget() {
    lock.lock()
    defer { lock.unlock() }
    (events, count, state, success) = ([], 0, nil, nil)
  }

  /// The k most probable next behaviors, best first. `at` nil: the moment is not known.
  /// `location` is the location to predict for, for bundles with query_context "time_location".
  public func predict(
    k: Int = 5, at: Date? = Date(), location: String? = nil, utcOffsetMin: Int? = nil
  ) throws -> [Prediction] {
    let moment = try at.map { try Moment($0, utcOffsetMin) }
    lock.lock()
    defer { lock.unlock() }
    let (past, names) = pastBehaviors()
    var probs: [Double]
    if let bundle = bundle, bundle.isUniversal {
      probs = try universal(bundle, past, moment)
    } else if let bundle = bundle {
      if events.isEmpty || (bundle["habits"] != 0 && past.isEmpty) {
        probs = Array(bundle.classPriors.dropFirst())
      } else {
        probs = try answer(bundle, past, names.count, moment, location)
      }
    } else {
      probs = habitsAlone(past, names.count, moment)
    }
    let best = probs.indices.sorted { probs[$0] > probs[$1] || (probs[$0] == probs[$1] && $0 < $1) }
    return best.prefix(k).map { Prediction(behavior: names[$0], probability: probs[$0]) }
  }

  /// The universal model's probabilities of the names used within reach, the most recent first; what is
  /// missing to 1 is that of any other name.
  private func universal(_ bundle: Bundle, _ past: [Past], _ moment: Moment?) throws -> [Double] {
    if past.isEmpty { return [] }
    let first = count - min(past.count, bundle["success_events"])
    var now = Success(numSeen: first)
    if let success = success, success.numSeen >= first { now = success }
    success = nil  // until it has advanced
    while now.numSeen < count - 1 {
      let end = past.count - (count - now.numSeen) + 1
      now.rows.append(try look(bundle, Array(past[..<end]), now.rows, nil).row)
      now.numSeen += 1
    }
    let before = now.numSeen == count ? Array(now.rows.dropLast()) : now.rows
    let asked = moment.map { dayAndSecond($0.at, $0.utcOffsetMin) }
    let (probs, row) = try look(bundle, past, before, asked)
    success = Success(numSeen: count, rows: (before + [row]).suffix(bundle["success_events"]))
    return probs.dropLast().map { Double($0) }
  }

  /// One run of the graph of the universal model: probabilities of the names within reach, the most recent
  /// first, and of any other name; and the row of success of the last event.
  ///
  /// `rows` are the rows of the events before the last one; `moment` nil: not known.
  private func look(
    _ bundle: Bundle, _ past: [Past], _ rows: [[Float]], _ moment: (day: Int, second: Int)?
  ) throws -> (probs: [Float], row: [Float]) {
    let lookback = bundle["lookback"]
    let read = Array(past.suffix(lookback + bundle["num_before"] + 1))
    var seen: Set<Int> = []
    var last: [Int] = []  // where each name came last, -1 for the last event
    for (age, one) in read.suffix(lookback).reversed().enumerated()
    where seen.insert(one.behavior).inserted {
      last.append(-1 - age)
    }
    let times = read.map { dayAndSecond($0.at, $0.utcOffsetMin) }
    let asked = moment ?? times[times.count - 1]
    var history = read.map { Float($0.behavior) } + [0]
    history += read.map { $0.location == 0 ? 0 : Float($0.location - firstOwnLocation + 1) } + [0]
    history += times.map { Float($0.day) } + [Float(asked.day)]
    history += times.map { Float($0.second) } + [Float(asked.second)]
    let (numRows, numColumns) = (bundle["success_events"] - 1, bundle["success_columns"])
    let latest = rows.suffix(numRows)
    let padding = [Float](repeating: 0, count: (numRows - latest.count) * numColumns)
    let feeds = [
      "history": try floats(history, [4, read.count + 1]),
      "last": try longs(last),
      "success": try floats(padding + latest.joined(), [numRows, numColumns]),
      "known": try floats([moment == nil ? 0 : 1], [1]),
    ]
    let outputs = try run(bundle.predict, feeds, ["probs", "new_success"])
    return (outputs[0], outputs[1])
  }

  /// Probabilities of the candidates from the model.
  private func answer(
    _ bundle: Bundle, _ past: [Past], _ numCandidates: Int, _ moment: Moment?, _ location: String?
  ) throws -> [Double] {
    let columns: [KeyPath<Past, Int>] = [\.behavior, \.location, \.at, \.utcOffsetMin]
    let history = columns.flatMap { column in past.map { $0[keyPath: column] } }
    let hidden = try self.hidden(bundle)
    var feeds: [String: ORTValue] = [:]
    for name in try bundle.predict.inputNames() {
      switch name {
      case "hidden": feeds[name] = try floats(hidden, [1, hidden.count])
      case "time_s": feeds[name] = try longs([moment?.at ?? 0])
      case "utc_offset_min": feeds[name] = try longs([moment?.utcOffsetMin ?? 0])
      case "time_known": feeds[name] = try longs([moment == nil ? 0 : 1])
      case "location": feeds[name] = try longs([vocabulary.locationId(location)])
      case "history": feeds[name] = try longs(history, [columns.count, past.count])
      // Inputs that a client may leave at a default, where a bundle has them.
      case "tail": feeds[name] = try floats([0], [])
      default: throw PredictorError("predict.onnx takes \(name), which this client does not know")
      }
    }
    let probs = try run(bundle.predict, feeds, ["probs"])[0]
    return probs.dropFirst().prefix(numCandidates).map { Double($0) }  // id 0 is the unknown behavior
  }

  /// What the habit kernels look back on, and the names of the candidates, ids 1, 2, ...
  ///
  /// Behaviors of the user's own have the ids V..V+U-1, the most recent first; 0: no slot left.
  /// Unknown locations have ids of their own beyond the vocabulary: only their identity matters.
  private func pastBehaviors() -> ([Past], [String]) {
    let numKnown = vocabulary.behaviors.count
    let numSpare = bundle?.get("num_spare", or: habitEvents) ?? habitEvents
    var own: [String] = []
    var slots: [String: Int] = [:]
    var ownLocations: [String: Int] = [:]
    var past: [Past] = []
    for one in events.suffix(bundle?.get("habit_events", or: habitEvents) ?? habitEvents).reversed() {
      let eventId = vocabulary.eventId(one.event)
      var behavior = vocabulary.eventToBehavior[eventId]
      if eventId == unknown { behavior = vocabulary.behaviorId(one.event) }
      if behavior == noBehavior { continue }
      if behavior == unknown && eventId == unknown {
        if slots[one.event] == nil && own.count < numSpare {
          slots[one.event] = numKnown + own.count
          own.append(one.event)
        }
        behavior = slots[one.event] ?? unknown
      }
      var locationId = vocabulary.locationId(one.location)
      if let location = one.location, locationId == unknown {
        locationId = ownLocations[location] ?? firstOwnLocation + ownLocations.count
        ownLocations[location] = locationId
      }
      past.append(
        Past(behavior: behavior, location: locationId, at: one.at, utcOffsetMin: one.utcOffsetMin))
    }
    return (past.reversed(), vocabulary.behaviors.dropFirst() + own)
  }

  /// State of the network after the latest event, (D).
  ///
  /// Advances one event at a time, each with the window - 1 events before it. A state that is not
  /// there is made from the last `receptive_field` events: what lies further back has no path to it.
  private func hidden(_ bundle: Bundle) throws -> [Float] {
    let receptiveField = bundle["receptive_field"]
    var now = State(numSeen: count - min(events.count, receptiveField))
    if let state = state, count - state.numSeen < receptiveField { now = state }
    state = nil  // until it has advanced
    let (numRows, width) = (2 * bundle["num_layers"], bundle["width"])
    let cacheShape = [bundle["num_heads"], bundle["head_width"]]
    while now.numSeen < count {
      let one = events[events.count - (count - now.numSeen)]
      let numCached = now.cache.count / (numRows * width)
      let feeds = [
        "event": try longs([vocabulary.eventId(one.event)]),
        "location": try longs([vocabulary.locationId(one.location)]),
        "time_s": try longs([one.at]),
        "utc_offset_min": try longs([one.utcOffsetMin]),
        "position": try longs([now.numSeen], []),
        "cache": try floats(now.cache, [numRows, numCached] + cacheShape),
      ]
      let outputs = try run(bundle.observe!, feeds, ["hidden", "new_rows"])
      now.hidden = outputs[0]
      now.cache = appended(now.cache, outputs[1], numRows, width, bundle["window"] - 1)
      now.numSeen += 1
    }
    state = now
    return now.hidden
  }

  private func run(
    _ session: ORTSession, _ feeds: [String: ORTValue], _ outputs: [String]
  ) throws -> [[Float]] {
    let results = try session.run(
      withInputs: feeds, outputNames: Set(outputs), runOptions: nil)
    return try outputs.map { name in
      let data = try results[name]!.tensorData() as Data
      return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
  }

  private func longs(_ values: [Int], _ shape: [Int]? = nil) throws -> ORTValue {
    let content = values.map { Int64($0) }.withUnsafeBytes { NSMutableData(data: Data($0)) }
    return try ORTValue(
      tensorData: content, elementType: .int64,
      shape: (shape ?? [values.count]).map { NSNumber(value: $0) })
  }

  private func floats(_ values: [Float], _ shape: [Int]) throws -> ORTValue {
    let content = values.withUnsafeBytes { NSMutableData(data: Data($0)) }
    return try ORTValue(
      tensorData: content, elementType: .float, shape: shape.map { NSNumber(value: $0) })
  }
}

/// Local days since Saturday, 3 January 1970, and seconds of the local day.
private func dayAndSecond(_ at: Int, _ utcOffsetMin: Int) -> (day: Int, second: Int) {
  let local = at + 60 * utcOffsetMin - 2 * 86_400  // positive since 1990
  return (local / 86_400, local % 86_400)
}

/// UTC seconds, and minutes to add for local time.
private struct Moment {
  let at, utcOffsetMin: Int

  init(_ date: Date, _ utcOffsetMin: Int?) throws {
    let seconds = date.timeIntervalSince1970.rounded(.down)
    guard seconds >= Double(earliestS) && seconds < Double(latestS) else {
      throw PredictorError("at must lie in 1990..2100, got \(date)")
    }
    let offset = utcOffsetMin ?? TimeZone.current.secondsFromGMT(for: date) / 60
    guard abs(offset) <= 840 else {
      throw PredictorError("utcOffsetMin must lie in -840..840, got \(offset)")
    }
    (at, self.utcOffsetMin) = (Int(seconds), offset)
  }
}

/// A cache with the rows of one more event, of which the last `maxEvents` stay, oldest first.
/// cache: (numRows, C, D); newRows: (numRows, 1, D).
private func appended(
  _ cache: [Float], _ newRows: [Float], _ numRows: Int, _ width: Int, _ maxEvents: Int
) -> [Float] {
  let numCached = cache.count / (numRows * width)
  let numKept = min(numCached, maxEvents - 1)
  var next: [Float] = []
  next.reserveCapacity(numRows * (numKept + 1) * width)
  for row in 0..<numRows {
    let end = (row + 1) * numCached * width
    next += cache[(end - numKept * width)..<end]
    next += newRows[(row * width)..<((row + 1) * width)]
  }
  return next
}

// Habits: what a user's own past says without a network. A kernel weighs each past behavior j;
//     p(b) = sum_k a_k / (E_k + c_k) sum_j w_k(j) [b_j = b] / Z,  E_k = sum_j w_k(j)

private let weight = [0.01, 0.005, 0.001, 0.005, 0.005, 0.07, 0.03, 0.87]  // a_k
private let shrinkage = [1.2, 1.5, 4.5, 11.0, 8.5, 25.0, 11.0, 55.0]  // c_k, in events

/// Probabilities of the candidates with ids 1..numCandidates; all 0 without any past.
private func habitsAlone(_ past: [Past], _ numCandidates: Int, _ moment: Moment?) -> [Double] {
  let weights = past.indices.map { kernelWeights(past, $0, moment) }
  let evidence = weight.indices.map { k in weights.reduce(0.0) { $0 + $1[k] } }
  var probs = [Double](repeating: 0, count: numCandidates + 1)
  for (one, row) in zip(past, weights) {
    for k in weight.indices {
      probs[one.behavior] += weight[k] * row[k] / (evidence[k] + shrinkage[k])
    }
  }
  let total = probs.reduce(0, +)
  return probs.dropFirst().map { $0 / (total > 0 ? total : 1) }
}

/// w_k(j): frequency, recency, transition, second order, location, hour, transition at such a moment,
/// location at such a moment.
private func kernelWeights(_ past: [Past], _ j: Int, _ moment: Moment?) -> [Double] {
  let n = past.count
  let isSameLast = j >= 1 && past[j - 1].behavior == past[n - 1].behavior
  let isSameLastTwo = isSameLast && j >= 2 && past[j - 2].behavior == past[n - 2].behavior
  let isSameLocation = j >= 1 && past[j - 1].location == past[n - 1].location
  func one(_ condition: Bool) -> Double { condition ? 1 : 0 }
  let weights: [Double] = [
    1, pow(0.9, Double(n - 1 - j)), one(isSameLast), one(isSameLastTwo), one(isSameLocation),
  ]
  guard let moment = moment else { return weights + [0, 0, 0] }
  let then = weekdayAndSlot(past[j].at, past[j].utcOffsetMin)
  let now = weekdayAndSlot(moment.at, moment.utcOffsetMin)
  let isSameDayType = (then.weekday >= 5) == (now.weekday >= 5)
  let hour = one(isSameDayType) * bell(clockDistance(then.slot, now.slot) / 2)
  if j == 0 { return weights + [hour, 0, 0] }
  let gap = logGap(past[j].at - past[j - 1].at) - logGap(moment.at - past[n - 1].at)
  let alike = bell(clockDistance(then.slot, now.slot) / 3) * bell(gap / 0.7)
  return weights + [hour, one(isSameLast) * alike, one(isSameLocation) * alike]
}

private func bell(_ distance: Double) -> Double { exp(-0.5 * distance * distance) }

private func logGap(_ seconds: Int) -> Double { log1p(Double(max(seconds, 0)) / 600) }

/// Half hours around the clock.
private func clockDistance(_ slot: Int, _ otherSlot: Int) -> Double {
  let apart = abs(slot - otherSlot)
  return Double(min(apart, 48 - apart))
}

/// Local weekday (Monday = 0) and half hour of the day; 1970 began on a Thursday.
private func weekdayAndSlot(_ at: Int, _ utcOffsetMin: Int) -> (weekday: Int, slot: Int) {
  let secondOfWeek = (at + 60 * utcOffsetMin + 3 * 86_400) % (7 * 86_400)  // positive since 1990
  return (secondOfWeek / 86_400, secondOfWeek % 86_400 / 1800)
}
