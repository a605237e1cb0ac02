package edgebehave

import kotlin.math.min

/** An event as it is retained: UTC seconds, and minutes to add for local time. */
data class Event(val event: String, val location: String?, val at: Long, val utcOffsetMin: Int)

/** The retained events, oldest first, and how many there ever were. */
data class History(val events: List<Event> = emptyList(), val count: Long = 0)

private const val STEPS = 32

/**
 * The last [maxEvents] events, and of these none older than [maxAgeS] seconds (null: of any age).
 *
 * Age is counted back from the latest event, or from the clock if that lies earlier. Events expire in steps of 1/32 of
 * [maxAgeS] since 1970, because the states of a user are computed anew when the oldest event is dropped.
 */
internal class Retention(val maxEvents: Int, private val maxAgeS: Long?) {
    init {
        require(maxEvents >= 1) { "maxEvents must be at least 1, got $maxEvents" }
        require(maxAgeS == null || maxAgeS >= 60) { "maxAgeS must be null or at least a minute, got $maxAgeS" }
    }

    /** The first moment that is retained if the latest event happened at [latestS]. */
    fun oldestS(latestS: Long): Long {
        if (maxAgeS == null) return 0
        val step = maxAgeS / STEPS
        return -Math.floorDiv(maxAgeS - min(latestS, now()), step) * step
    }
}

/** The retained events of one user in the order of time; events of the same second in the order of arrival. */
internal class UserHistory(private val retention: Retention) {
    val events = ArrayList<Event>() // oldest first

    /** Events ever observed, without those forgotten. */
    var count = 0L
        private set

    /** How often something else changed than that events were added at the end. */
    var changes = 0L
        private set

    /** Begin with events that another history retained. */
    fun put(history: History) {
        for (event in history.events) add(event, mayRepeat = true)
        count = maxOf(history.count, history.events.size.toLong())
    }

    /** Add an event at its place in time. Returns whether it is new: the same event twice counts once. */
    fun add(event: Event, mayRepeat: Boolean = false): Boolean {
        val position = events.indexOfLast { it.at <= event.at } + 1
        var same = position - 1
        while (!mayRepeat && same >= 0 && events[same].at == event.at) {
            if (events[same] == event) return false
            same -= 1
        }
        count += 1
        if (position < events.size) changes += 1
        events.add(position, event)
        if (events.size > retention.maxEvents) events.removeAt(0)
        val oldestS = retention.oldestS(events.last().at)
        if (events.first().at < oldestS) {
            events.removeAll { it.at < oldestS }
            changes += 1
        }
        return true
    }

    /** Erase the events that match, as if they had never been. Returns their number. */
    fun erase(matches: (Event) -> Boolean): Int {
        val numErased = events.count(matches)
        if (numErased > 0) {
            events.removeAll(matches)
            count = if (events.isEmpty()) 0 else count - numErased
            changes += 1
        }
        return numErased
    }
}
