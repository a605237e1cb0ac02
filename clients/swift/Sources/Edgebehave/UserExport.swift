import Foundation

private let format = "edgebehave user history"
private let version = 1
private let fieldNames: Set = ["event", "location", "time_s", "utc_offset_min"]

/// A history as ASCII text, one event a line, byte for byte that of the SDK in Python.
func writeUser(_ history: History) -> String {
  let lines = history.events.map { one in
    let place = one.location.map(quoted) ?? "null"
    return "{\"event\": \(quoted(one.event)), \"location\": \(place), "
      + "\"time_s\": \(one.at), \"utc_offset_min\": \(one.utcOffsetMin)}"
  }
  let head = "\"format\": \"\(format)\", \"version\": \(version), \"num_events\": \(history.count)"
  return "{\(head), \"events\": [\n\(lines.joined(separator: ",\n"))\n]}\n"
}

/// The history of such text. Throws a PredictorError that says where it differs.
func readUser(_ text: String) throws -> History {
  guard let fields = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any],
    fields["format"] as? String == format
  else {
    throw PredictorError("the data is JSON, but not of the format \"\(format)\"")
  }
  guard fields["version"] as? Int == version else {
    throw PredictorError("the data is of another version, this edgebehave reads \(version)")
  }
  guard let rows = fields["events"] as? [[String: Any]], !rows.isEmpty else {
    throw PredictorError("events must be a list of at least one event")
  }
  guard let count = fields["num_events"] as? Int, count >= rows.count else {
    throw PredictorError("num_events must be an integer, at least the \(rows.count) events there are")
  }
  var history = History()
  history.count = count
  history.events = try rows.map(event)
  for (one, next) in zip(history.events, history.events.dropFirst()) where one.at > next.at {
    throw PredictorError("events are not in the order of time")
  }
  return history
}

private func event(_ row: [String: Any]) throws -> Event {
  guard Set(row.keys) == fieldNames, let name = row["event"] as? String, let at = row["time_s"] as? Int,
    let offset = row["utc_offset_min"] as? Int, row["location"] is String || row["location"] is NSNull
  else { throw PredictorError("an event must be an object of \(fieldNames.sorted().joined(separator: ", "))") }
  let moment = try Moment(at: at, utcOffsetMin: offset)
  let location = try (row["location"] as? String).map { try checkedName($0, "location") }
  return Event(
    event: try checkedName(name, "event"), location: location, at: moment.at, utcOffsetMin: moment.utcOffsetMin)
}

/// A string in quotes, in ASCII.
private func quoted(_ text: String) -> String {
  let short: [UInt16: String] = [34: "\\\"", 92: "\\\\", 8: "\\b", 12: "\\f", 10: "\\n", 13: "\\r", 9: "\\t"]
  let units = text.utf16.map { unit -> String in
    if let known = short[unit] { return known }
    if unit < 32 || unit > 127 { return String(format: "\\u%04x", Int(unit)) }
    return String(UnicodeScalar(UInt8(unit)))
  }
  return "\"\(units.joined())\""
}
