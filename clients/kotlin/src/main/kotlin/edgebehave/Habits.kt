package edgebehave

import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.ln1p
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow

// Habits: predictions from a user's own past, without a network. A kernel weighs each past behavior j:
//     p(b) = sum_k a_k / (E_k + c_k) sum_j w_k(j) [b_j = b] / Z,  E_k = sum_j w_k(j)

private val WEIGHT = doubleArrayOf(0.01, 0.005, 0.001, 0.005, 0.005, 0.07, 0.03, 0.87) // a_k
private val SHRINKAGE = doubleArrayOf(1.2, 1.5, 4.5, 11.0, 8.5, 25.0, 11.0, 55.0) // c_k, events

/** Probabilities of the candidates with ids 1..numCandidates; all 0 without any past. */
internal fun habitsAlone(past: List<PastBehavior>, numCandidates: Int, asked: Moment?): FloatArray {
    val weights = past.indices.map { kernelWeights(past, it, asked) }
    val evidence = DoubleArray(WEIGHT.size) { k -> weights.sumOf { it[k] } }
    val probs = DoubleArray(numCandidates + 1)
    past.forEachIndexed { j, one ->
        for (k in WEIGHT.indices) {
            probs[one.behavior] += WEIGHT[k] * weights[j][k] / (evidence[k] + SHRINKAGE[k])
        }
    }
    val total = probs.sum().takeIf { it > 0 } ?: 1.0
    return FloatArray(numCandidates) { (probs[it + 1] / total).toFloat() }
}

/**
 * w_k(j): frequency, recency, transition, second order, location, hour, transition at such a moment,
 * location at such a moment.
 */
private fun kernelWeights(past: List<PastBehavior>, j: Int, asked: Moment?): DoubleArray {
    val n = past.size
    val sameLast = one(j >= 1 && past[j - 1].behavior == past[n - 1].behavior)
    val sameLastTwo = one(sameLast > 0 && j >= 2 && past[j - 2].behavior == past[n - 2].behavior)
    val sameLocation = one(j >= 1 && past[j - 1].location == past[n - 1].location)
    val weights = doubleArrayOf(1.0, 0.9.pow(n - 1 - j), sameLast, sameLastTwo, sameLocation)
    if (asked == null) return weights + DoubleArray(3)
    val (thenWeekday, thenSlot) = past[j].moment.weekdayAndSlot()
    val (nowWeekday, nowSlot) = asked.weekdayAndSlot()
    val sameDayType = one((thenWeekday >= 5) == (nowWeekday >= 5))
    val hour = sameDayType * bell(clockDistance(thenSlot, nowSlot) / 2.0)
    if (j == 0) return weights + doubleArrayOf(hour, 0.0, 0.0)
    val gap = logGap(past[j].moment.at - past[j - 1].moment.at) - logGap(asked.at - past[n - 1].moment.at)
    val alike = bell(clockDistance(thenSlot, nowSlot) / 3.0) * bell(gap / 0.7)
    return weights + doubleArrayOf(hour, sameLast * alike, sameLocation * alike)
}

private fun one(condition: Boolean) = if (condition) 1.0 else 0.0

private fun bell(distance: Double) = exp(-0.5 * distance * distance)

private fun logGap(seconds: Long) = ln1p(max(seconds, 0) / 600.0)

/** Half hours around the clock. */
private fun clockDistance(slot: Int, otherSlot: Int) =
    abs(slot - otherSlot).let { min(it, 48 - it) }
