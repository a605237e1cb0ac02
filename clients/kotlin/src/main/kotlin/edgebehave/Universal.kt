package edgebehave

import kotlin.math.max
import kotlin.math.min

/** The universal model: it knows no names, and predicts from a user's own past how that goes on. */
internal class Universal(private val bundle: Bundle) {
    /** Rows of success of the events before number [numSeen], the latest last. */
    private class State(val changes: Long, val numSeen: Long, val rows: List<FloatArray>)

    private class Look(val probs: FloatArray, val row: FloatArray, val last: LongArray)

    private var state: State? = null

    /**
     * The names that a user has used within reach, the most recent first, and their probabilities; what is missing to 1
     * is that of any other name. There must be an event; [vocabulary] gives events their behaviors.
     */
    fun probs(question: Question, vocabulary: Vocabulary): Pair<List<String>, FloatArray> {
        val (events, count, changes) = question
        val numRows = bundle["success_events"]
        val past = NumberedEvents(events.takeLast(bundle["history_events"]), vocabulary)
        val first = count - min(past.size, numRows)
        var now = state?.takeIf { it.changes == changes && it.numSeen in first + 1..count }
            ?: State(changes, first, emptyList())
        state = null // until it has advanced
        while (now.numSeen < count - 1) {
            val end = past.size - (count - now.numSeen).toInt() + 1
            now = State(changes, now.numSeen + 1, now.rows + listOf(look(past, end, now.rows, null).row))
        }
        val before = if (now.numSeen == count) now.rows.dropLast(1) else now.rows
        val look = look(past, past.size, before, question.moment)
        state = State(changes, count, (before + listOf(look.row)).takeLast(numRows))
        return past.behaviors(look.last, look.probs)
    }

    /**
     * One run of the graph over the events before number [end], at least one: probabilities of the names within reach,
     * the most recent first, and of any other name; the row of success of the last event; where each name came last.
     *
     * [rows] are the rows of the events before the last one; [moment] null: not known.
     */
    private fun look(past: NumberedEvents, end: Int, rows: List<FloatArray>, moment: Moment?): Look {
        val begin = max(0, end - (bundle["lookback"] + bundle["num_before"] + 1))
        val (numRows, numColumns) = bundle["success_events"] - 1 to bundle["success_columns"]
        val success = FloatArray(numRows * numColumns)
        val latest = rows.takeLast(numRows)
        latest.forEachIndexed { i, row -> row.copyInto(success, (numRows - latest.size + i) * numColumns) }
        val last = past.last(max(0, end - bundle["lookback"]), end)
        val inputs = mapOf(
            "history" to Floats(past.columns(begin, end, moment), longArrayOf(4, (end - begin + 1).toLong())),
            "last" to Longs(last),
            "success" to Floats(success, longArrayOf(numRows.toLong(), numColumns.toLong())),
            "known" to Floats(floatArrayOf(if (moment == null) 0f else 1f)),
        )
        val (probs, row) = bundle.predict.run(inputs, listOf("probs", "new_success"))
        return Look(probs, row, last)
    }
}

/** Events as the graph reads them: names and locations are numbers in the order of their first use. */
private class NumberedEvents(events: List<Event>, vocabulary: Vocabulary) {
    val size = events.size
    private val names = ArrayList<String?>() // of number 1, 2, ...; null: a known event that is none of the behaviors
    private val columns = Array(4) { FloatArray(size) } // name, location, day, second

    init {
        val numbers = HashMap<Pair<Boolean, String>, Int>()
        val places = hashMapOf<String?, Int>(null to 0)
        events.forEachIndexed { i, one ->
            val behavior = vocabulary.behaviorOf(one.event)
            val isInput = behavior != null && behavior <= UNKNOWN
            val name = if (behavior == null || isInput) one.event else vocabulary.behaviors[behavior]
            val number = numbers.getOrPut(isInput to name) {
                names.add(if (isInput) null else name)
                names.size
            }
            val (day, second) = Moment(one.at, one.utcOffsetMin).dayAndSecond()
            columns[0][i] = number.toFloat()
            columns[1][i] = places.getOrPut(one.location) { places.size }.toFloat()
            columns[2][i] = day.toFloat()
            columns[3][i] = second.toFloat()
        }
    }

    /** (4, end - begin + 1): the events, and the question: 0, 0, and its day and second, or those of the last event. */
    fun columns(begin: Int, end: Int, moment: Moment?): FloatArray {
        val width = end - begin + 1
        val all = FloatArray(4 * width)
        columns.forEachIndexed { row, column -> column.copyInto(all, row * width, begin, end) }
        val asked = moment?.dayAndSecond()
        all[3 * width - 1] = asked?.first?.toFloat() ?: columns[2][end - 1]
        all[4 * width - 1] = asked?.second?.toFloat() ?: columns[3][end - 1]
        return all
    }

    /** Where each name of some events came last, -1 for the last event; the most recent first. */
    fun last(begin: Int, end: Int): LongArray {
        val seen = LinkedHashMap<Float, Long>()
        for (i in end - 1 downTo begin) if (columns[0][i] !in seen) seen[columns[0][i]] = (i - end).toLong()
        return seen.values.toLongArray()
    }

    /** The behaviors that came last there; events that are input only are never what is predicted. */
    fun behaviors(last: LongArray, probs: FloatArray): Pair<List<String>, FloatArray> {
        val all = last.map { age -> names[columns[0][size + age.toInt()].toInt() - 1] }
        val inputs = all.indices.filter { all[it] == null }.fold(0f) { sum, i -> sum + probs[i] }
        val kept = all.indices.filter { all[it] != null }
        return kept.map { all[it]!! } to FloatArray(kept.size) { probs[kept[it]] / (1 - inputs) }
    }
}
