import Foundation

// Habits: predictions from a user's own past, without a network. A kernel weighs each past behavior j:
//     p(b) = sum_k a_k / (E_k + c_k) sum_j w_k(j) [b_j = b] / Z,  E_k = sum_j w_k(j)

private let weight = [0.01, 0.005, 0.001, 0.005, 0.005, 0.07, 0.03, 0.87]  // a_k
private let shrinkage = [1.2, 1.5, 4.5, 11.0, 8.5, 25.0, 11.0, 55.0]  // c_k, in events

/// Probabilities of the candidates with ids 1..numCandidates; all 0 without any past.
func habitsAlone(_ past: [PastBehavior], _ numCandidates: Int, _ asked: Moment?) -> [Float] {
  let weights = past.indices.map { kernelWeights(past, $0, asked) }
  let evidence = weight.indices.map { k in weights.reduce(0.0) { $0 + $1[k] } }
  var probs = [Double](repeating: 0, count: numCandidates + 1)
  for (one, row) in zip(past, weights) {
    for k in weight.indices {
      probs[one.behavior] += weight[k] * row[k] / (evidence[k] + shrinkage[k])
    }
  }
  let total = probs.reduce(0, +)
  return probs.dropFirst().map { Float($0 / (total > 0 ? total : 1)) }
}

/// w_k(j): frequency, recency, transition, second order, location, hour, transition at such a moment,
/// location at such a moment.
private func kernelWeights(_ past: [PastBehavior], _ j: Int, _ asked: Moment?) -> [Double] {
  let n = past.count
  let isSameLast = j >= 1 && past[j - 1].behavior == past[n - 1].behavior
  let isSameLastTwo = isSameLast && j >= 2 && past[j - 2].behavior == past[n - 2].behavior
  let isSameLocation = j >= 1 && past[j - 1].location == past[n - 1].location
  func one(_ condition: Bool) -> Double { condition ? 1 : 0 }
  let weights: [Double] = [
    1, pow(0.9, Double(n - 1 - j)), one(isSameLast), one(isSameLastTwo), one(isSameLocation),
  ]
  guard let asked else { return weights + [0, 0, 0] }
  let then = past[j].moment.weekdayAndSlot()
  let now = asked.weekdayAndSlot()
  let isSameDayType = (then.weekday >= 5) == (now.weekday >= 5)
  let hour = one(isSameDayType) * bell(clockDistance(then.slot, now.slot) / 2)
  if j == 0 { return weights + [hour, 0, 0] }
  let gap = logGap(past[j].moment.at - past[j - 1].moment.at) - logGap(asked.at - past[n - 1].moment.at)
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
