package edgebehave

import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.max

data class Prediction(val behavior: String, val probability: Float)

/** The candidate for no behavior within the given time. */
const val NOTHING = "<nothing>"

private const val IMPOSSIBLE = 1e-30 // candidates of a smaller probability belong to no set

/** Positions of probabilities, the largest first; equal ones keep their order. */
internal fun bestFirst(probs: FloatArray): List<Int> = probs.indices.sortedByDescending { probs[it] }

/**
 * Thresholds of prediction sets for a grid of coverages: a set holds the candidates whose probability reaches the
 * threshold, and always the most probable one (split conformal prediction).
 */
internal class Thresholds(private val coverage: DoubleArray, private val threshold: DoubleArray) {
    /** Positions of the candidates in the set of a coverage, the most probable first. */
    fun members(probs: FloatArray, wanted: Double): List<Int> {
        val index = coverage.indexOfFirst { it >= wanted - 1e-9 }
        val least = max(if (index < 0) 0.0 else threshold[index], IMPOSSIBLE).toFloat()
        val best = bestFirst(probs)
        val inside = best.takeWhile { probs[it] >= least }
        return inside.ifEmpty { best.takeWhile { probs[it] == probs[best.first()] } }
    }
}

/** Positions of the most probable candidates whose probabilities sum to [coverage]; all if theirs sum to less. */
internal fun mostProbable(probs: FloatArray, coverage: Double): List<Int> {
    val best = bestFirst(probs)
    var sum = 0.0
    for ((rank, candidate) in best.withIndex()) {
        sum += probs[candidate]
        if (sum >= coverage) return best.take(rank + 1)
    }
    return best
}

/** p'(b) ~ p(b) exp(tail log r_b): the tail shift toward rare behaviors; graphs compute it themselves. */
internal fun shifted(probs: FloatArray, logRatio: DoubleArray, tail: Double): FloatArray {
    val scores = DoubleArray(probs.size) { ln(probs[it].toDouble()) + tail * logRatio[it] }
    val most = scores.max()
    val weights = scores.map { exp(it - most) }
    val sum = weights.sum()
    return FloatArray(probs.size) { (weights[it] / sum).toFloat() }
}

/** p(time from the last behavior to the next): possible times in seconds, in any order, and their probabilities. */
internal class WaitingTime(private val gapS: FloatArray, private val probs: FloatArray) {
    /** p(nothing for [withinS] more, after [waitedS] without a behavior) = S(waited + within) / S(waited). */
    fun nothingWithin(waitedS: Double, withinS: Double): Double {
        val still = longerThan(waitedS)
        return if (still > 0) longerThan(waitedS + withinS) / still else 1.0
    }

    /** The median of the times in ([afterS], [untilS]]; the middle of the two if none lies there. */
    fun median(afterS: Double, untilS: Double): Double {
        val inside = gapS.indices.filter { gapS[it] > afterS && gapS[it] <= untilS }.sortedBy { gapS[it] }
        val mass = inside.runningFold(0.0) { sum, i -> sum + probs[i] }.drop(1)
        if (mass.isEmpty() || mass.last() <= 0) return (afterS + untilS) / 2
        return gapS[inside[mass.indexOfFirst { it >= mass.last() / 2 }]].toDouble()
    }

    /** S(t) = p(gap > t). */
    private fun longerThan(seconds: Double) = gapS.indices.filter { gapS[it] > seconds }.sumOf { probs[it].toDouble() }
}
