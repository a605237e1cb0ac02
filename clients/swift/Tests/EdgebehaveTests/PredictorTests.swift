import Foundation
import XCTest

@testable import Edgebehave

/// NOT RUN YET: no Swift toolchain was at hand.
final class PredictorTests: XCTestCase {
  private let start = Date(timeIntervalSince1970: 1_767_268_800)

  func testHabitsPredictWhatCameAtThisHour() throws {
    let predictor = try Predictor(maxAheadS: nil)
    for day in 0..<5 {
      for (hour, name) in ["mail", "music", "camera"].enumerated() {
        let at = start.addingTimeInterval(Double(86_400 * day + 3600 * hour))
        try predictor.observe(name, location: "home", at: at, utcOffsetMin: 0)
      }
    }
    let best = try predictor.predict(k: 1, at: start.addingTimeInterval(5 * 86_400), utcOffsetMin: 0)
    XCTAssertEqual(best.map { $0.behavior }, ["mail"])
  }

  func testTheSameEventTwiceCountsOnce() throws {
    let predictor = try Predictor(maxAheadS: nil)
    XCTAssertNotNil(try predictor.observe("mail", at: start, utcOffsetMin: 0))
    XCTAssertNil(try predictor.observe("mail", at: start, utcOffsetMin: 0))
    XCTAssertEqual(predictor.history.count, 1)
  }

  func testAUserTravelsAndIsForgotten() throws {
    let predictor = try Predictor(maxAheadS: nil)
    try predictor.observe("caf\u{e9} \"1\"", at: start, utcOffsetMin: 60)
    let text = try predictor.exportUser()
    let copy = try Predictor(maxAheadS: nil)
    try copy.importUser(text)
    XCTAssertEqual(try copy.exportUser(), text)
    XCTAssertEqual(try copy.forgetEvents(at: start), 1)
    XCTAssertEqual(copy.history.count, 0)
  }

  func testLongNamesAreShortened() {
    let bounded = boundedName(String(repeating: "a", count: 1025))
    XCTAssertEqual(bounded.count, 265)
    XCTAssertEqual(boundedName(bounded), bounded)
  }
}
