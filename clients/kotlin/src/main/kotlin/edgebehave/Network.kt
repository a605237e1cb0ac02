package edgebehave

import kotlin.math.max
import kotlin.math.min

// L layers, D width, C cached events

/** The network of a bundle: its state after the latest event of a user. */
internal class Network(private val bundle: Bundle) {
    /** After events [origin] to [numSeen] - 1. [cache] (2 L, C, D). */
    private class State(
        val changes: Long,
        val origin: Long,
        val numSeen: Long,
        val hidden: FloatArray,
        val cache: FloatArray,
    )

    private var state: State? = null

    /**
     * State after the latest event, (1, D).
     *
     * It advances one event at a time, each with the window - 1 events before it. A state that is not there begins so
     * far back that no earlier event has a path to its end, and at a multiple of window - 1, as in the SDK. A state is
     * of use only while the history's number of changes is the same.
     */
    fun hidden(question: Question): Floats {
        val (events, count, changes) = question
        val numSlots = bundle["window"] - 1
        val farEnough = max(0, count - bundle["receptive_field"]) / numSlots * numSlots
        val origin = max(farEnough, count - events.size)
        var now = state?.takeIf { it.changes == changes && reaches(it, origin, count) }
            ?: State(changes, origin, origin, FloatArray(0), FloatArray(0))
        state = null // until it has advanced
        val locations = locationIds(events, bundle.vocabulary)
        while (now.numSeen < count) {
            val number = events.size - (count - now.numSeen).toInt()
            now = step(now, events[number], locations[number])
        }
        state = now
        return Floats(now.hidden, longArrayOf(1, now.hidden.size.toLong()))
    }

    private fun step(now: State, one: Event, location: Long): State {
        val (numRows, width) = 2 * bundle["num_layers"] to bundle["width"]
        val numCached = now.cache.size / (numRows * width)
        val cacheShape = listOf(numRows, numCached, bundle["num_heads"], bundle["head_width"])
        val inputs = mapOf(
            "event" to long(bundle.vocabulary.eventId(one.event).toLong()),
            "location" to long(location),
            "time_s" to long(one.at),
            "utc_offset_min" to long(one.utcOffsetMin.toLong()),
            "position" to Longs(longArrayOf(now.numSeen), LongArray(0)),
            "cache" to Floats(now.cache, LongArray(cacheShape.size) { cacheShape[it].toLong() }),
        )
        val (hidden, newRows) = bundle.observe!!.run(inputs, listOf("hidden", "new_rows"))
        val cache = appended(now.cache, newRows, numRows, width, bundle["window"] - 1)
        return State(now.changes, now.origin, now.numSeen + 1, hidden, cache)
    }

    /** Whether a state, advanced, equals a new one that begins at [origin], and needs fewer steps. */
    private fun reaches(state: State, origin: Long, count: Long): Boolean {
        if (state.numSeen > count || origin >= state.numSeen) return false
        val isInStep = (origin - state.origin) % (bundle["window"] - 1) == 0L
        val isFarBack = state.origin < origin && origin <= count - bundle["receptive_field"]
        return isInStep && (origin == state.origin || isFarBack)
    }
}

/**
 * A cache with the rows of one more event, of which the last [maxEvents] stay, oldest first.
 * cache: (numRows, C, D); newRows: (numRows, 1, D).
 */
private fun appended(
    cache: FloatArray,
    newRows: FloatArray,
    numRows: Int,
    width: Int,
    maxEvents: Int,
): FloatArray {
    val numCached = cache.size / (numRows * width)
    val numKept = min(numCached, maxEvents - 1)
    val next = FloatArray(numRows * (numKept + 1) * width)
    for (row in 0 until numRows) {
        val begin = row * (numKept + 1) * width
        val end = (row + 1) * numCached * width
        cache.copyInto(next, begin, end - numKept * width, end)
        newRows.copyInto(next, begin + numKept * width, row * width, (row + 1) * width)
    }
    return next
}
