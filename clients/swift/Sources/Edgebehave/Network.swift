// L layers, D width, C cached events

/// The network of a bundle: its state after the latest event of a user.
final class Network {
  /// After events `origin` to `numSeen` - 1. cache: (2 L, C, D).
  private struct State {
    let changes, origin: Int
    var numSeen: Int
    var hidden: [Float] = []
    var cache: [Float] = []
  }

  private let bundle: ModelBundle
  private var state: State?

  init(_ bundle: ModelBundle) { self.bundle = bundle }

  /// State after the latest event, (1, D).
  ///
  /// It advances one event at a time, each with the window - 1 events before it. A state that is not there begins so
  /// far back that no earlier event has a path to its end, and at a multiple of window - 1, as in the SDK. A state is
  /// of use only while the history's number of changes is the same.
  func hidden(_ question: Question) throws -> Tensor {
    let (events, count) = (question.events, question.count)
    let numSlots = bundle["window"] - 1
    let farEnough = max(0, count - bundle["receptive_field"]) / numSlots * numSlots
    let origin = max(farEnough, count - events.count)
    var now = State(changes: question.changes, origin: origin, numSeen: origin)
    if let state, state.changes == question.changes, reaches(state, origin, count) { now = state }
    state = nil  // until it has advanced
    let locations = locationIds(events, bundle.vocabulary)
    while now.numSeen < count {
      let number = events.count - (count - now.numSeen)
      try step(&now, events[number], locations[number])
    }
    state = now
    return .floats(now.hidden, [1, now.hidden.count])
  }

  private func step(_ now: inout State, _ one: Event, _ location: Int) throws {
    let (numRows, width) = (2 * bundle["num_layers"], bundle["width"])
    let numCached = now.cache.count / (numRows * width)
    let inputs: [String: Tensor] = [
      "event": .long(bundle.vocabulary.eventId(one.event)),
      "location": .long(location),
      "time_s": .long(one.at),
      "utc_offset_min": .long(one.utcOffsetMin),
      "position": .longs([now.numSeen], []),
      "cache": .floats(now.cache, [numRows, numCached, bundle["num_heads"], bundle["head_width"]]),
    ]
    let outputs = try bundle.observe!.run(inputs, ["hidden", "new_rows"])
    now.hidden = outputs[0]
    now.cache = appended(now.cache, outputs[1], numRows, width, bundle["window"] - 1)
    now.numSeen += 1
  }

  /// Whether a state, advanced, equals a new one that begins at `origin`, and needs fewer steps.
  private func reaches(_ state: State, _ origin: Int, _ count: Int) -> Bool {
    if state.numSeen > count || origin >= state.numSeen { return false }
    let isInStep = (origin - state.origin) % (bundle["window"] - 1) == 0
    let isFarBack = state.origin < origin && origin <= count - bundle["receptive_field"]
    return isInStep && (origin == state.origin || isFarBack)
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
