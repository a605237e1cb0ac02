import Foundation

let earliestS = 631_152_000  // 1990: a time before it comes from a clock that was never set
let latestS = 4_102_444_800  // 2100: seconds below cannot be taken for milliseconds

/// UTC seconds, and minutes to add for local time.
struct Moment {
  let at, utcOffsetMin: Int

  init(at: Int, utcOffsetMin: Int) throws {
    guard at >= earliestS && at < latestS else {
      throw PredictorError("at must lie within 1990..2100, got \(at) s since 1970")
    }
    guard abs(utcOffsetMin) <= 840 else {
      throw PredictorError("utcOffsetMin must lie in -840..840, got \(utcOffsetMin)")
    }
    (self.at, self.utcOffsetMin) = (at, utcOffsetMin)
  }

  /// Parts of a second are cut off; without an offset, that of the device at the moment.
  init(_ date: Date, _ utcOffsetMin: Int?) throws {
    let seconds = date.timeIntervalSince1970.rounded(.down)
    guard abs(seconds) < 1e11 else { throw PredictorError("at must lie within 1990..2100, got \(date)") }
    let offset = utcOffsetMin ?? TimeZone.current.secondsFromGMT(for: date) / 60
    try self.init(at: Int(seconds), utcOffsetMin: offset)
  }

  private var local: Int { at + 60 * utcOffsetMin }  // positive since 1990

  /// Local days since Saturday, 3 January 1970, and seconds of the local day.
  func dayAndSecond() -> (day: Int, second: Int) {
    let seconds = local - 2 * 86_400
    return (seconds / 86_400, seconds % 86_400)
  }

  /// Local weekday (Monday = 0) and half hour of the day; 1970 began on a Thursday.
  func weekdayAndSlot() -> (weekday: Int, slot: Int) {
    let secondOfWeek = (local + 3 * 86_400) % (7 * 86_400)
    return (secondOfWeek / 86_400, secondOfWeek % 86_400 / 1800)
  }
}
