import Foundation

let unknown = 0  // id of names that a vocabulary lacks, and of no location
let noBehavior = -1  // of an event that is input only
private let formatVersion = 2

/// Names and their ids, as in vocabulary.json; id 0 is unknown.
public struct Vocabulary {
  public let events, locations, behaviors: [String]
  public let eventToBehavior: [Int]
  private let eventIds, locationIds, behaviorIds: [ExactName: Int]

  init(events: [String], locations: [String], behaviors: [String], eventToBehavior: [Int]) {
    func ids(_ names: [String]) -> [ExactName: Int] {
      Dictionary(uniqueKeysWithValues: names.enumerated().map { (ExactName($0.element), $0.offset) })
    }
    (self.events, self.locations, self.behaviors) = (events, locations, behaviors)
    self.eventToBehavior = eventToBehavior
    (eventIds, locationIds, behaviorIds) = (ids(events), ids(locations), ids(behaviors))
  }

  /// Of universal bundles and of habits alone: every name is one of the user's own.
  static let empty = Vocabulary(
    events: ["<unknown>"], locations: ["<unknown>"], behaviors: ["<unknown>"], eventToBehavior: [unknown])

  func eventId(_ name: String) -> Int { eventIds[ExactName(name)] ?? unknown }
  func locationId(_ name: String?) -> Int { name.flatMap { locationIds[ExactName($0)] } ?? unknown }

  /// Id of the behavior of an event: noBehavior for input only, nil for a name of the user's own.
  func behaviorOf(_ event: String) -> Int? {
    let id = eventId(event)
    if id != unknown { return eventToBehavior[id] }
    return behaviorIds[ExactName(event)].flatMap { $0 == unknown ? nil : $0 }
  }
}

/// A bundle of `edgebehave export --target web`, or a universal one, read, verified and opened.
///
/// Throws a PredictorError that says what is wrong with the bundle.
public final class ModelBundle {
  public let isUniversal: Bool
  public let vocabulary: Vocabulary
  let classPriors: [Float]
  let tailLogRatio: [Double]
  let thresholds: Thresholds?
  let observe: Graph?  // nil: universal
  let predict: Graph
  let wait: Graph?  // nil: the model knows no waiting times
  private let shape: [String: Any]

  /// `opener` opens the graph of a file.
  public init(folder: URL, opener: (URL) throws -> Graph = { try OnnxGraph(file: $0) }) throws {
    func verify(_ name: String, _ content: Data, _ digest: Any?) throws -> Data {
      if sha256(content) == digest as? String { return content }
      throw PredictorError("\(name) of the bundle is damaged: its SHA-256 is another; copy it again")
    }
    let file = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
    guard
      let manifest = try JSONSerialization.jsonObject(with: file) as? [String: Any],
      manifest["format_version"] as? Int == formatVersion,
      manifest["kind"] as? String == "universal" || manifest["target"] as? String == "web"
    else {
      throw PredictorError(
        "this client reads bundles of format \(formatVersion) for the web; export with --target web")
    }
    // The manifest holds the digests of the other files, and its own digest with zeros in place of it.
    let undigested = String(decoding: file, as: UTF8.self).replacingOccurrences(
      of: "(?<=\"digest\": \")[0-9a-f]{64}(?=\")", with: String(repeating: "0", count: 64),
      options: .regularExpression)
    _ = try verify("manifest.json", Data(undigested.utf8), manifest["digest"])
    let files = manifest["files"] as? [String: [String: Any]] ?? [:]
    func verified(_ name: String) throws -> Data {
      try verify(name, try Data(contentsOf: folder.appendingPathComponent(name)), files[name]?["sha256"])
    }
    func open(_ name: String) throws -> Graph {
      _ = try verified(name)
      return try opener(folder.appendingPathComponent(name))
    }
    let lacks = PredictorError("the bundle lacks a part; copy or export it again")
    guard let model = manifest["model"] as? [String: Any] else { throw lacks }
    shape = model
    isUniversal = manifest["kind"] as? String == "universal"
    predict = try open("predict.onnx")
    if isUniversal {
      (vocabulary, classPriors, tailLogRatio, thresholds) = (.empty, [], [], nil)
      (observe, wait) = (nil, nil)
      return
    }
    guard
      let names = try JSONSerialization.jsonObject(with: verified("vocabulary.json")) as? [String: Any],
      let events = names["events"] as? [String], let locations = names["locations"] as? [String],
      let behaviors = names["behaviors"] as? [String], let mapping = names["event_to_behavior"] as? [Int],
      let priors = manifest["class_priors"] as? [Double],
      let tail = manifest["tail"] as? [String: Any], let logRatio = tail["log_ratio"] as? [Double],
      let conformal = manifest["conformal"] as? [String: Any],
      let coverage = conformal["coverage"] as? [Double], let threshold = conformal["threshold"] as? [Double]
    else { throw lacks }
    vocabulary = Vocabulary(
      events: events, locations: locations, behaviors: behaviors, eventToBehavior: mapping)
    classPriors = priors.map { Float($0) }
    tailLogRatio = logRatio
    thresholds = Thresholds(coverage: coverage, threshold: threshold)
    observe = try open("observe.onnx")
    wait = files["wait.onnx"] == nil ? nil : try open("wait.onnx")
  }

  /// A number of the model; 0 and 1 stand for false and true.
  subscript(name: String) -> Int { (shape[name] as? NSNumber)?.intValue ?? 0 }

  var queryContext: String { shape["query_context"] as? String ?? "none" }
}
