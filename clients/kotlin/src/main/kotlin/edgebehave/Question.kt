package edgebehave

import kotlin.math.max

/** What a prediction is made from: the events of the moment of the call, and what is asked. */
internal data class Question(
    val events: List<Event>,
    val count: Long,
    val changes: Long,
    val moment: Moment?,
    val location: String? = null,
    val tail: Double = 0.0,
)

/** A past behavior as the habit kernels see it: ids, not names. */
internal class PastBehavior(val behavior: Int, val location: Long, val moment: Moment)

/** The behaviors that habit kernels look back on, and the names of the candidates with the ids 1, 2, ... */
internal class Past(val behaviors: List<PastBehavior>, val names: List<String>) {
    /** As the graphs take them, (4, n), oldest first. */
    fun tensor(): Longs {
        val columns = listOf<(PastBehavior) -> Long>(
            { it.behavior.toLong() }, { it.location }, { it.moment.at }, { it.moment.utcOffsetMin.toLong() },
        )
        val values = columns.flatMap { column -> behaviors.map(column) }.toLongArray()
        return Longs(values, longArrayOf(columns.size.toLong(), behaviors.size.toLong()))
    }
}

/** Ids of the locations of events; the user's own have ids beyond the vocabulary in the order of their first use. */
internal fun locationIds(events: List<Event>, vocabulary: Vocabulary): List<Long> {
    val own = HashMap<String, Long>()
    return events.map { (_, location) ->
        val id = vocabulary.locationId(location)
        if (location == null || id != UNKNOWN) {
            id.toLong()
        } else {
            own.getOrPut(location) { (vocabulary.locations.size + own.size).toLong() }
        }
    }
}

/**
 * The past of some events for a [vocabulary] of V behaviors.
 *
 * Behaviors of the user's own have the ids V..V+U-1, the most recently used first; 0: no slot left.
 *
 * [numEvents]  events that the kernels look back on. [numSpare]  U.
 */
internal fun pastOf(events: List<Event>, vocabulary: Vocabulary, numEvents: Int, numSpare: Int): Past {
    val numKnown = vocabulary.behaviors.size
    val locations = locationIds(events, vocabulary)
    val slots = LinkedHashMap<String, Int>()
    val past = ArrayList<PastBehavior>()
    for (i in events.indices.reversed().take(max(0, numEvents))) {
        val one = events[i]
        var behavior = vocabulary.behaviorOf(one.event)
        if (behavior == NO_BEHAVIOR) continue
        if (behavior == null) {
            if (slots.size < numSpare) slots.getOrPut(one.event) { numKnown + slots.size }
            behavior = slots[one.event] ?: UNKNOWN
        }
        past.add(PastBehavior(behavior, locations[i], Moment(one.at, one.utcOffsetMin)))
    }
    return Past(past.asReversed(), vocabulary.behaviors.drop(1) + slots.keys)
}
