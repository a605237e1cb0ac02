import Foundation

public struct Prediction {
  public let behavior: String
  public let probability: Float
}

/// The candidate for no behavior within the given time.
public let nothing = "<nothing>"

private let impossible = 1e-30  // candidates of a smaller probability belong to no set

/// Positions of probabilities, the largest first; equal ones keep their order.
func bestFirst(_ probs: [Float]) -> [Int] {
  probs.indices.sorted { probs[$0] > probs[$1] || (probs[$0] == probs[$1] && $0 < $1) }
}

/// Thresholds of prediction sets for a grid of coverages: a set holds the candidates whose probability reaches the
/// threshold, and always the most probable one (split conformal prediction).
struct Thresholds {
  let coverage, threshold: [Double]

  /// Positions of the candidates in the set of a coverage, the most probable first.
  func members(_ probs: [Float], _ wanted: Double) -> [Int] {
    let index = coverage.firstIndex { $0 >= wanted - 1e-9 }
    let least = Float(max(index.map { threshold[$0] } ?? 0, impossible))
    let best = bestFirst(probs)
    let inside = best.prefix { probs[$0] >= least }
    return Array(inside.isEmpty ? best.prefix { probs[$0] == probs[best[0]] } : inside)
  }
}

/// Positions of the most probable candidates whose probabilities sum to `coverage`; all if theirs sum to less.
func mostProbable(_ probs: [Float], _ coverage: Double) -> [Int] {
  let best = bestFirst(probs)
  var sum = 0.0
  for (rank, candidate) in best.enumerated() {
    sum += Double(probs[candidate])
    if sum >= coverage { return Array(best[...rank]) }
  }
  return best
}

/// p'(b) ~ p(b) exp(tail log r_b): the tail shift toward rare behaviors; graphs compute it themselves.
func shifted(_ probs: [Float], _ logRatio: [Double], _ tail: Double) -> [Float] {
  let scores = zip(probs, logRatio).map { log(Double($0)) + tail * $1 }
  let most = scores.max() ?? 0
  let weights = scores.map { exp($0 - most) }
  let sum = weights.reduce(0, +)
  return weights.map { Float($0 / sum) }
}

/// p(time from the last behavior to the next): possible times in seconds, in any order, and their probabilities.
struct WaitingTime {
  let gapS, probs: [Float]

  /// p(nothing for `withinS` more, after `waitedS` without a behavior) = S(waited + within) / S(waited).
  func nothingWithin(_ waitedS: Double, _ withinS: Double) -> Double {
    let still = longerThan(waitedS)
    return still > 0 ? longerThan(waitedS + withinS) / still : 1
  }

  /// The median of the times in (afterS, untilS]; the middle of the two if none lies there.
  func median(_ afterS: Double, _ untilS: Double) -> Double {
    let inside = gapS.indices.filter { Double(gapS[$0]) > afterS && Double(gapS[$0]) <= untilS }
      .sorted { gapS[$0] < gapS[$1] || (gapS[$0] == gapS[$1] && $0 < $1) }
    let total = inside.reduce(0.0) { $0 + Double(probs[$1]) }
    if total <= 0 { return (afterS + untilS) / 2 }
    var mass = 0.0
    for index in inside {
      mass += Double(probs[index])
      if mass >= total / 2 { return Double(gapS[index]) }
    }
    return Double(gapS[inside[inside.count - 1]])
  }

  /// S(t) = p(gap > t).
  private func longerThan(_ seconds: Double) -> Double {
    zip(gapS, probs).reduce(0.0) { Double($1.0) > seconds ? $0 + Double($1.1) : $0 }
  }
}
