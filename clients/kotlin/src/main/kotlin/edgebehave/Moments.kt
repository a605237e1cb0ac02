package edgebehave

import java.util.TimeZone
import kotlin.math.abs

internal const val EARLIEST_S = 631_152_000L // 1990: a time before it comes from a clock that was never set
internal const val LATEST_S = 4_102_444_800L // 2100: seconds below cannot be taken for milliseconds

/** UTC seconds, and minutes to add for local time. */
internal data class Moment(val at: Long, val utcOffsetMin: Int) {
    init {
        require(at in EARLIEST_S until LATEST_S) { "at must be unix seconds within 1990..2100, got $at" }
        require(abs(utcOffsetMin) <= 840) { "utcOffsetMin must lie in -840..840, got $utcOffsetMin" }
    }

    private val local = at + 60L * utcOffsetMin // positive since 1990

    /** Local days since Saturday, 3 January 1970, and seconds of the local day. */
    fun dayAndSecond(): Pair<Long, Long> = (local - 2 * 86_400).let { it / 86_400 to it % 86_400 }

    /** Local weekday (Monday = 0) and half hour of the day; 1970 began on a Thursday. */
    fun weekdayAndSlot(): Pair<Int, Int> {
        val secondOfWeek = (local + 3 * 86_400) % (7L * 86_400)
        return (secondOfWeek / 86_400).toInt() to (secondOfWeek % 86_400 / 1800).toInt()
    }
}

/** The device's clock, unix seconds. */
fun now(): Long = System.currentTimeMillis() / 1000

/** Minutes to add to UTC for the device's local time at a moment. */
fun localOffsetMin(at: Long): Int = TimeZone.getDefault().getOffset(1000 * at) / 60_000
