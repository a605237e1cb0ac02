/// What a prediction is made from: the events of the moment of the call, and what is asked.
struct Question {
  let events: [Event]
  let count, changes: Int
  var moment: Moment?
  let location: String?
  let tail: Double
}

/// A past behavior as the habit kernels see it: ids, not names.
struct PastBehavior {
  let behavior, location: Int
  let moment: Moment
}

/// Ids of the locations of events; the user's own have ids beyond the vocabulary in the order of their first use.
func locationIds(_ events: [Event], _ vocabulary: Vocabulary) -> [Int] {
  var own: [ExactName: Int] = [:]
  return events.map { one in
    let id = vocabulary.locationId(one.location)
    guard let location = one.location, id == unknown else { return id }
    let number = own[ExactName(location)] ?? vocabulary.locations.count + own.count
    own[ExactName(location)] = number
    return number
  }
}

/// The behaviors that habit kernels look back on, and the names of the candidates with the ids 1, 2, ...
struct Past {
  let behaviors: [PastBehavior]
  let names: [String]

  /// As the graphs take them, (4, n), oldest first.
  var tensor: Tensor {
    let columns: [(PastBehavior) -> Int] = [
      { $0.behavior }, { $0.location }, { $0.moment.at }, { $0.moment.utcOffsetMin },
    ]
    return .longs(columns.flatMap { behaviors.map($0) }, [columns.count, behaviors.count])
  }

  /// The past of some events for a vocabulary of V behaviors.
  ///
  /// Behaviors of the user's own have the ids V..V+U-1, the most recently used first; 0: no slot left.
  ///
  /// numEvents: events that the kernels look back on; numSpare: U.
  init(_ events: [Event], _ vocabulary: Vocabulary, numEvents: Int, numSpare: Int) throws {
    let numKnown = vocabulary.behaviors.count
    let locations = locationIds(events, vocabulary)
    var slots: [ExactName: Int] = [:]
    var own: [String] = []
    var past: [PastBehavior] = []
    for (one, location) in zip(events, locations).suffix(numEvents).reversed() {
      var behavior = vocabulary.behaviorOf(one.event)
      if behavior == noBehavior { continue }
      if behavior == nil {
        let name = ExactName(one.event)
        if slots[name] == nil && slots.count < numSpare {
          slots[name] = numKnown + slots.count
          own.append(one.event)
        }
        behavior = slots[name] ?? unknown
      }
      let moment = try Moment(at: one.at, utcOffsetMin: one.utcOffsetMin)
      past.append(PastBehavior(behavior: behavior ?? unknown, location: location, moment: moment))
    }
    behaviors = past.reversed()
    names = vocabulary.behaviors.dropFirst() + own
  }
}
