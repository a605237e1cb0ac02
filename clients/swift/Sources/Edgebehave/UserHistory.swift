import Foundation

/// An event as it is retained: UTC seconds, and minutes to add for local time.
public struct Event: Codable {
  public let event: String
  public let location: String?
  public let at: Int
  public let utcOffsetMin: Int

  /// Whether two events are one.
  func isSame(_ other: Event) -> Bool {
    at == other.at && utcOffsetMin == other.utcOffsetMin && ExactName(event) == ExactName(other.event)
      && location.map(ExactName.init) == other.location.map(ExactName.init)
  }
}

/// The retained events, oldest first, and how many there ever were.
public struct History: Codable {
  public var events: [Event] = []
  public var count = 0
  public init() {}
}

/// The last `maxEvents` events, and of these none older than `maxAgeS` (nil: of any age).
///
/// Age is counted back from the latest event, or from the clock if that lies earlier. Events expire in steps of 1/32 of
/// `maxAgeS` since 1970, because the states of a user are computed anew when the oldest event is dropped.
struct Retention {
  private static let steps = 32
  let maxEvents: Int
  let maxAgeS: Int?

  init(maxEvents: Int, maxAgeS: Int?) throws {
    if maxEvents < 1 { throw PredictorError("maxEvents must be at least 1, got \(maxEvents)") }
    if let maxAgeS, maxAgeS < 60 { throw PredictorError("maxAgeS must be at least a minute, got \(maxAgeS)") }
    (self.maxEvents, self.maxAgeS) = (maxEvents, maxAgeS)
  }

  /// The first moment that is retained if the latest event happened at `latestS`.
  func oldestS(_ latestS: Int) -> Int {
    guard let maxAgeS else { return 0 }
    let step = maxAgeS / Self.steps
    let first = min(latestS, Int(Date().timeIntervalSince1970)) - maxAgeS
    return first <= 0 ? 0 : (first + step - 1) / step * step
  }
}

/// The retained events of one user in the order of time; events of the same second in the order of arrival.
struct UserHistory {
  private let retention: Retention
  private(set) var events: [Event] = []  // oldest first
  private(set) var count = 0  // events ever observed, without those forgotten
  private(set) var changes = 0  // how often something else changed than that events were added at the end

  init(_ retention: Retention) { self.retention = retention }

  /// Begin with events that another history retained.
  mutating func put(_ history: History) {
    for event in history.events { _ = add(event, mayRepeat: true) }
    count = max(history.count, history.events.count)
  }

  /// Add an event at its place in time. Returns whether it is new: the same event twice counts once.
  mutating func add(_ event: Event, mayRepeat: Bool = false) -> Bool {
    let position = (events.lastIndex { $0.at <= event.at } ?? -1) + 1
    let sameSecond = events[..<position].reversed().prefix { $0.at == event.at }
    if !mayRepeat && sameSecond.contains(where: { $0.isSame(event) }) { return false }
    count += 1
    if position < events.count { changes += 1 }
    events.insert(event, at: position)
    if events.count > retention.maxEvents { events.removeFirst() }
    let oldestS = retention.oldestS(events[events.count - 1].at)
    if events[0].at < oldestS {
      events.removeAll { $0.at < oldestS }
      changes += 1
    }
    return true
  }

  /// Erase the events that match, as if they had never been. Returns their number.
  mutating func erase(_ matches: (Event) -> Bool) -> Int {
    let kept = events.filter { !matches($0) }
    let numErased = events.count - kept.count
    if numErased > 0 {
      events = kept
      count = kept.isEmpty ? 0 : count - numErased
      changes += 1
    }
    return numErased
  }
}
