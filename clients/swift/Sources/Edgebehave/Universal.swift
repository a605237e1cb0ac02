/// The universal model: it knows no names, and predicts from a user's own past how that goes on.
final class Universal {
  /// Rows of success of the events before number `numSeen`, the latest last.
  private struct State {
    let changes: Int
    var numSeen: Int
    var rows: [[Float]] = []
  }

  private let bundle: ModelBundle
  private var state: State?

  init(_ bundle: ModelBundle) { self.bundle = bundle }

  /// The names that a user has used within reach, the most recent first, and their probabilities; what is missing to 1
  /// is that of any other name. There must be an event; `vocabulary` gives events their behaviors.
  func probs(_ question: Question, _ vocabulary: Vocabulary) throws -> (names: [String], probs: [Float]) {
    let (count, numRows) = (question.count, bundle["success_events"])
    let past = try NumberedEvents(Array(question.events.suffix(bundle["history_events"])), vocabulary)
    let first = count - min(past.size, numRows)
    var now = State(changes: question.changes, numSeen: first)
    if let state, state.changes == question.changes, state.numSeen > first, state.numSeen <= count { now = state }
    state = nil  // until it has advanced
    while now.numSeen < count - 1 {
      let end = past.size - (count - now.numSeen) + 1
      now.rows.append(try look(past, end, now.rows, nil).row)
      now.numSeen += 1
    }
    let before = now.numSeen == count ? Array(now.rows.dropLast()) : now.rows
    let seen = try look(past, past.size, before, question.moment)
    state = State(changes: question.changes, numSeen: count, rows: Array((before + [seen.row]).suffix(numRows)))
    return past.behaviors(seen.last, seen.probs)
  }

  /// One run of the graph over the events before number `end`, at least one: probabilities of the names within reach,
  /// the most recent first, and of any other name; the row of success of the last event; where each name came last.
  ///
  /// `rows` are the rows of the events before the last one; `moment` nil: not known.
  private func look(
    _ past: NumberedEvents, _ end: Int, _ rows: [[Float]], _ moment: Moment?
  ) throws -> (probs: [Float], row: [Float], last: [Int]) {
    let begin = max(0, end - (bundle["lookback"] + bundle["num_before"] + 1))
    let (numRows, numColumns) = (bundle["success_events"] - 1, bundle["success_columns"])
    let latest = rows.suffix(numRows)
    let padding = [Float](repeating: 0, count: (numRows - latest.count) * numColumns)
    let last = past.last(max(0, end - bundle["lookback"]), end)
    let inputs: [String: Tensor] = [
      "history": .floats(past.columns(begin, end, moment), [4, end - begin + 1]),
      "last": .longs(last, [last.count]),
      "success": .floats(padding + latest.joined(), [numRows, numColumns]),
      "known": .floats([moment == nil ? 0 : 1], [1]),
    ]
    let outputs = try bundle.predict.run(inputs, ["probs", "new_success"])
    return (outputs[0], outputs[1], last)
  }
}

/// Events as the graph reads them: names and locations are numbers in the order of their first use.
private struct NumberedEvents {
  let size: Int
  private var names: [String?] = []  // of number 1, 2, ...; nil: a known event that is none of the behaviors
  private var rows: [[Int]] = []  // [name, location, day, second]

  private struct Identity: Hashable {
    let isInput: Bool
    let name: ExactName
  }

  init(_ events: [Event], _ vocabulary: Vocabulary) throws {
    size = events.count
    var numbers: [Identity: Int] = [:]
    var places: [ExactName: Int] = [:]
    for one in events {
      let behavior = vocabulary.behaviorOf(one.event)
      let isInput = behavior.map { $0 <= unknown } ?? false
      let name = isInput ? one.event : behavior.map { vocabulary.behaviors[$0] } ?? one.event
      let identity = Identity(isInput: isInput, name: ExactName(name))
      if numbers[identity] == nil {
        names.append(isInput ? nil : name)
        numbers[identity] = names.count
      }
      var place = 0
      if let location = one.location {
        place = places[ExactName(location)] ?? places.count + 1
        places[ExactName(location)] = place
      }
      let (day, second) = try Moment(at: one.at, utcOffsetMin: one.utcOffsetMin).dayAndSecond()
      rows.append([numbers[identity]!, place, day, second])
    }
  }

  /// (4, end - begin + 1): the events, and the question: 0, 0, and its day and second, or those of the last event.
  func columns(_ begin: Int, _ end: Int, _ moment: Moment?) -> [Float] {
    let asked = moment.map { $0.dayAndSecond() } ?? (day: rows[end - 1][2], second: rows[end - 1][3])
    let all = rows[begin..<end] + [[0, 0, asked.day, asked.second]]
    return (0..<4).flatMap { column in all.map { Float($0[column]) } }
  }

  /// Where each name of some events came last, -1 for the last event; the most recent first.
  func last(_ begin: Int, _ end: Int) -> [Int] {
    var seen: Set<Int> = []
    return (begin..<end).reversed().filter { seen.insert(rows[$0][0]).inserted }.map { $0 - end }
  }

  /// The behaviors that came last there; events that are input only are never what is predicted.
  func behaviors(_ last: [Int], _ probs: [Float]) -> (names: [String], probs: [Float]) {
    let all = last.map { names[rows[size + $0][0] - 1] }
    let inputs = zip(all, probs).reduce(Float(0)) { $1.0 == nil ? $0 + $1.1 : $0 }
    let kept = zip(all, probs).filter { $0.0 != nil }
    return (kept.map { $0.0! }, kept.map { $0.1 / (1 - inputs) })
  }
}
