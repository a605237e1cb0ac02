/*
 * On-device next-behavior prediction for Android: observe what a user does, predict what comes next.
 *
 * A translation, part by part, of examples/browser/edgebehave.js, which is tested. It compiles, but has
 * NOT RUN HERE, as no Android SDK was at hand: check it with golden vectors before use.
 *
 *     dependencies { implementation("com.microsoft.onnxruntime:onnxruntime-android:1.26.0") }
 *
 *     val bundle = Bundle { name -> assets.open("bundle/$name").use { it.readBytes() } }
 *     val predictor = Predictor(bundle)                   // or Predictor(): habits alone
 *     predictor.observe("camera.open", location = "home")
 *     for ((behavior, probability) in predictor.predict(k = 3)) ...
 *
 * One predictor is one user. It runs bundles from `edgebehave export --target web`, and universal
 * bundles (edgebehave/universal_bundle), whose graphs are standard operators. All state is a function of the retained events: store `history`, pass it to
 * the next Predictor. Calls from several threads wait for each other; predict off the main thread.
 *
 * Letters in comments: L layers, D width, C cached events, V behaviors, U spare slots.
 */

package edgebehave

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.nio.FloatBuffer
import java.nio.LongBuffer
import java.security.MessageDigest
import java.util.TimeZone
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.ln1p
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow
import org.json.JSONArray
import org.json.JSONObject

private const val FORMAT_VERSION = 2
private const val UNKNOWN = 0 // id of names that a vocabulary lacks, and of no location
private const val NO_BEHAVIOR = -1 // of an event that is input only
private const val HABIT_EVENTS = 512 // events kept without a bundle
private const val FIRST_OWN_LOCATION = 1L shl 31 // id of the first location that a vocabulary lacks
private const val EARLIEST_S = 631_152_000L // 1990: a time before it comes from a clock never set
private const val LATEST_S = 4_102_444_800L // 2100: seconds below cannot be milliseconds

/** An event as it is retained: UTC seconds, and minutes to add for local time. */
data class Event(val event: String, val location: String?, val at: Long, val utcOffsetMin: Int)

/** The retained events, oldest first, and how many there ever were. */
data class History(val events: List<Event> = emptyList(), val count: Long = 0)

data class Prediction(val behavior: String, val probability: Double)

/** Names and their ids, as in vocabulary.json. */
class Vocabulary(
    val behaviors: List<String>,
    events: List<String>,
    locations: List<String>,
    val eventToBehavior: List<Int>,
) {
    private val eventIds = events.withIndex().associate { (id, name) -> name to id }
    private val locationIds = locations.withIndex().associate { (id, name) -> name to id }
    private val behaviorIds = behaviors.withIndex().associate { (id, name) -> name to id }

    fun eventId(name: String) = eventIds[name] ?: UNKNOWN
    fun locationId(name: String?) = locationIds[name] ?: UNKNOWN
    fun behaviorId(name: String) = behaviorIds[name] ?: UNKNOWN

    companion object {
        val NONE = listOf("<unknown>").let { Vocabulary(it, it, it, listOf(UNKNOWN)) }
    }
}

/**
 * A bundle, read, verified and loaded.
 *
 * [read] gives the content of a file of the bundle's folder.
 * Throws IllegalArgumentException that says what is wrong with the bundle.
 */
class Bundle(read: (String) -> ByteArray) {
    val environment: OrtEnvironment = OrtEnvironment.getEnvironment()
    val shape: JSONObject
    val classPriors: DoubleArray
    val vocabulary: Vocabulary
    val observe: OrtSession? // null: universal
    val predict: OrtSession
    val isUniversal: Boolean

    init {
        val text = String(read("manifest.json"), Charsets.UTF_8)
        val manifest = JSONObject(text)
        val (format, target) = manifest.optInt("format_version") to manifest.optString("target")
        isUniversal = manifest.optString("kind") == "universal"
        require(format == FORMAT_VERSION && (isUniversal || target == "web")) {
            "this client reads bundles of format $FORMAT_VERSION for the web, got format $format " +
                "for $target; export again with --target web"
        }
        // The manifest vouches for the other files, and for itself with zeros for its digest.
        val undigested = text.replace(Regex("(?<=\"digest\": \")[0-9a-f]{64}(?=\")"), "0".repeat(64))
        verify("manifest.json", undigested.toByteArray(), manifest.optString("digest"))
        val files = manifest.getJSONObject("files")
        val verified = { name: String ->
            verify(name, read(name), files.getJSONObject(name).getString("sha256"))
        }
        shape = manifest.getJSONObject("model")
        if (isUniversal) {
            classPriors = DoubleArray(0)
            vocabulary = Vocabulary.NONE
        } else {
            val vocabularyJson = JSONObject(String(verified("vocabulary.json"), Charsets.UTF_8))
            val names = { kind: String -> vocabularyJson.getJSONArray(kind).map { it as String } }
            classPriors = manifest.getJSONArray("class_priors").map { (it as Number).toDouble() }
                .toDoubleArray()
            vocabulary = Vocabulary(
                names("behaviors"),
                names("events"),
                names("locations"),
                vocabularyJson.getJSONArray("event_to_behavior").map { (it as Number).toInt() },
            )
        }
        // The graphs are so small that a second thread costs more than it does.
        val options = OrtSession.SessionOptions().apply {
            setIntraOpNumThreads(1)
            setInterOpNumThreads(1)
        }
        observe = if (isUniversal) null else {
            environment.createSession(verified("observe.onnx"), options)
        }
        predict = environment.createSession(verified("predict.onnx"), options)
    }

    operator fun get(name: String): Int = shape.getInt(name)

    /** A number that bundles of a vocabulary alone have. */
    fun getOr(name: String, otherwise: Int): Int = shape.optInt(name, otherwise)

    private fun verify(name: String, content: ByteArray, digest: String): ByteArray {
        val sha256 = MessageDigest.getInstance("SHA-256").digest(content)
        require(sha256.joinToString("") { "%02x".format(it) } == digest) {
            "$name of the bundle is damaged: its SHA-256 is another; copy it again"
        }
        return content
    }

    private fun <T> JSONArray.map(read: (Any) -> T): List<T> = List(length()) { read(get(it)) }
}

/** What the habit kernels see of an event: ids, not names. */
private class Past(val behavior: Int, val location: Long, val at: Long, val utcOffsetMin: Int)

/** The network after the first [numSeen] events. cache: (2 L, C, D). */
private class State(val numSeen: Long, val hidden: FloatArray, val cache: FloatArray)

/** Rows of past success, of the events before number [numSeen], the latest last. */
private class Success(val numSeen: Long, val rows: List<FloatArray>)

/** Predictions for one user. Without a bundle habits alone predict, from the first event on. */
class Predictor(private val bundle: Bundle? = null, history: History = History()) {
    private val vocabulary = bundle?.vocabulary ?: Vocabulary.NONE
    private val capacity = bundle?.get("history_events") ?: HABIT_EVENTS
    private val events = history.events.takeLast(capacity).toMutableList()
    private var count = max(history.count, history.events.size.toLong())
    private var state: State? = null // null: to be made from the events
    private var success: Success? = null // the same for a universal bundle

    val history: History
        @Synchronized get() = History(events.toList(), count)

    /**
     * Take note of an event; the network runs when asked to predict. Late events go to their position
     * in time. Returns the event as it is retained.
     */
    @Synchronized
    fun observe(
        event: String,
        location: String? = null,
        at: Long = now(),
        utcOffsetMin: Int = localOffset(at),
    ): Event {
        require(event.isNotEmpty() && location != "") { "event and location must not be empty" }
        checkMoment(at, utcOffsetMin)
        val noted = Event(event, location, at, utcOffsetMin)
        count += 1
        val position = events.indexOfLast { it.at <= at } + 1
        if (position < events.size) startAnew()
        events.add(position, noted)
        if (events.size > capacity) events.removeAt(0)
        return noted
    }

    /** Drop everything about the user. */
    @Synchronized
    fun forget() {
        events.clear()
        count = 0
        startAnew()
    }

    private fun startAnew() {
        state = null
        success = null
    }

    /**
     * The [k] most probable next behaviors, best first. [at] null: the moment is not known.
     * [location] is the location to predict for, for bundles with query_context "time_location".
     */
    @Synchronized
    fun predict(
        k: Int = 5,
        at: Long? = now(),
        location: String? = null,
        utcOffsetMin: Int = localOffset(at ?: now()),
    ): List<Prediction> {
        if (at != null) checkMoment(at, utcOffsetMin)
        val (past, names) = pastBehaviors()
        val probs = when {
            bundle == null -> habitsAlone(past, names.size, at, utcOffsetMin)
            bundle.isUniversal -> universal(bundle, past, at, utcOffsetMin)
            events.isEmpty() || (bundle.shape.getBoolean("habits") && past.isEmpty()) ->
                bundle.classPriors.drop(1)
            else -> answer(bundle, past, names.size, at, utcOffsetMin, location)
        }
        return probs.indices.sortedByDescending { probs[it] }.take(k) // stable
            .map { Prediction(names[it], probs[it]) }
    }

    /**
     * The universal model's probabilities of the names used within reach, the most recent first; what
     * is missing to 1 is that of any other name.
     */
    private fun universal(
        bundle: Bundle,
        past: List<Past>,
        at: Long?,
        utcOffsetMin: Int,
    ): List<Double> {
        if (past.isEmpty()) return emptyList()
        val first = count - min(past.size, bundle["success_events"])
        var now = success ?: Success(first, emptyList())
        if (now.numSeen < first) now = Success(first, emptyList())
        success = null // until it has advanced
        while (now.numSeen < count - 1) {
            val end = past.size - (count - now.numSeen).toInt() + 1
            val (_, row) = look(bundle, past.subList(0, end), now.rows, null)
            now = Success(now.numSeen + 1, now.rows + listOf(row))
        }
        val before = if (now.numSeen == count) now.rows.dropLast(1) else now.rows
        val moment = at?.let { dayAndSecond(it, utcOffsetMin) }
        val (probs, row) = look(bundle, past, before, moment)
        success = Success(count, (before + listOf(row)).takeLast(bundle["success_events"]))
        return probs.dropLast(1).map { it.toDouble() }
    }

    /**
     * One run of the graph of the universal model: probabilities of the names within reach, the most
     * recent first, and of any other name; and the row of success of the last event.
     *
     * [rows] are the rows of the events before the last one; [moment] null: not known.
     */
    private fun look(
        bundle: Bundle,
        past: List<Past>,
        rows: List<FloatArray>,
        moment: Pair<Long, Long>?,
    ): Pair<FloatArray, FloatArray> {
        val lookback = bundle["lookback"]
        val read = past.takeLast(lookback + bundle["num_before"] + 1)
        val last = LinkedHashMap<Int, Long>() // name -> where it came last, -1 for the last event
        read.takeLast(lookback).asReversed().forEachIndexed { age, one ->
            last.getOrPut(one.behavior) { -1L - age }
        }
        val times = read.map { dayAndSecond(it.at, it.utcOffsetMin) }
        val asked = moment ?: times.last()
        val width = read.size + 1
        val history = FloatArray(4 * width)
        read.forEachIndexed { i, one ->
            history[i] = one.behavior.toFloat()
            val location = one.location
            history[width + i] =
                if (location == 0L) 0f else (location - FIRST_OWN_LOCATION + 1).toFloat()
            history[2 * width + i] = times[i].first.toFloat()
            history[3 * width + i] = times[i].second.toFloat()
        }
        history[3 * width - 1] = asked.first.toFloat()
        history[4 * width - 1] = asked.second.toFloat()
        val (numRows, numColumns) = bundle["success_events"] - 1 to bundle["success_columns"]
        val success = FloatArray(numRows * numColumns)
        val latest = rows.takeLast(numRows)
        latest.forEachIndexed { i, row ->
            row.copyInto(success, (numRows - latest.size + i) * numColumns)
        }
        val feeds = mapOf(
            "history" to floats(history, 4, width.toLong()),
            "last" to longs(*last.values.toLongArray()),
            "success" to floats(success, numRows.toLong(), numColumns.toLong()),
            "known" to floats(floatArrayOf(if (moment == null) 0f else 1f), 1),
        )
        val (probs, row) = run(bundle.predict, feeds, "probs", "new_success")
        return probs to row
    }

    /** Probabilities of the candidates from the model. */
    private fun answer(
        bundle: Bundle,
        past: List<Past>,
        numCandidates: Int,
        at: Long?,
        utcOffsetMin: Int,
        location: String?,
    ): List<Double> {
        val columns = listOf<(Past) -> Long>(
            { it.behavior.toLong() }, { it.location }, { it.at }, { it.utcOffsetMin.toLong() },
        )
        val history = columns.flatMap { column -> past.map(column) }.toLongArray()
        val hidden = hidden(bundle)
        val inputs = mapOf(
            "hidden" to { floats(hidden, 1, hidden.size.toLong()) },
            "time_s" to { longs(at ?: 0) },
            "utc_offset_min" to { longs(if (at == null) 0 else utcOffsetMin.toLong()) },
            "time_known" to { longs(if (at == null) 0 else 1) },
            "location" to { longs(vocabulary.locationId(location).toLong()) },
            "history" to { tensor(history, columns.size.toLong(), past.size.toLong()) },
            // Inputs that a client may leave at a default, where a bundle has them.
            "tail" to { floats(floatArrayOf(0f)) },
        )
        val feeds = bundle.predict.inputNames.associateWith { inputs.getValue(it)() }
        val probs = run(bundle.predict, feeds, "probs").single()
        return List(numCandidates) { probs[it + 1].toDouble() } // id 0 is the unknown behavior
    }

    /**
     * What the habit kernels look back on, and the names of the candidates, ids 1, 2, ...
     *
     * Behaviors of the user's own have the ids V..V+U-1, the most recent first; 0: no slot left.
     * Unknown locations have ids of their own beyond the vocabulary: only their identity matters.
     */
    private fun pastBehaviors(): Pair<List<Past>, List<String>> {
        val numKnown = vocabulary.behaviors.size
        val numSpare = bundle?.getOr("num_spare", HABIT_EVENTS) ?: HABIT_EVENTS
        val slots = LinkedHashMap<String, Int>()
        val ownLocations = HashMap<String, Long>()
        val past = ArrayList<Past>()
        val numPast = bundle?.getOr("habit_events", HABIT_EVENTS) ?: HABIT_EVENTS
        for (one in events.takeLast(numPast).asReversed()) {
            val eventId = vocabulary.eventId(one.event)
            var behavior =
                if (eventId != UNKNOWN) vocabulary.eventToBehavior[eventId]
                else vocabulary.behaviorId(one.event)
            if (behavior == NO_BEHAVIOR) continue
            if (behavior == UNKNOWN && eventId == UNKNOWN) {
                if (slots.size < numSpare) slots.getOrPut(one.event) { numKnown + slots.size }
                behavior = slots[one.event] ?: UNKNOWN
            }
            var locationId = vocabulary.locationId(one.location).toLong()
            if (one.location != null && locationId == UNKNOWN.toLong()) {
                locationId = ownLocations.getOrPut(one.location) {
                    FIRST_OWN_LOCATION + ownLocations.size
                }
            }
            past.add(Past(behavior, locationId, one.at, one.utcOffsetMin))
        }
        return past.asReversed() to vocabulary.behaviors.drop(1) + slots.keys
    }

    /**
     * State of the network after the latest event, (D).
     *
     * Advances one event at a time, each with the window - 1 events before it. A state that is not
     * there is made from the last `receptive_field` events: what lies further back has no path to it.
     */
    private fun hidden(bundle: Bundle): FloatArray {
        val receptiveField = bundle["receptive_field"]
        var now = state
        if (now == null || count - now.numSeen >= receptiveField) {
            val numSeen = count - min(events.size, receptiveField)
            now = State(numSeen, FloatArray(0), FloatArray(0))
        }
        state = null // until it has advanced
        val (numRows, width) = 2 * bundle["num_layers"] to bundle["width"]
        while (now!!.numSeen < count) {
            val one = events[events.size - (count - now.numSeen).toInt()]
            val numCached = now.cache.size / (numRows * width)
            val feeds = mapOf(
                "event" to longs(vocabulary.eventId(one.event).toLong()),
                "location" to longs(vocabulary.locationId(one.location).toLong()),
                "time_s" to longs(one.at),
                "utc_offset_min" to longs(one.utcOffsetMin.toLong()),
                "position" to tensor(longArrayOf(now.numSeen)),
                "cache" to floats(
                    now.cache,
                    numRows.toLong(),
                    numCached.toLong(),
                    bundle["num_heads"].toLong(),
                    bundle["head_width"].toLong(),
                ),
            )
            val (hidden, newRows) = run(bundle.observe!!, feeds, "hidden", "new_rows")
            val cache = appended(now.cache, newRows, numRows, width, bundle["window"] - 1)
            now = State(now.numSeen + 1, hidden, cache)
        }
        state = now
        return now.hidden
    }

    private fun run(
        session: OrtSession,
        feeds: Map<String, OnnxTensor>,
        vararg outputs: String,
    ): List<FloatArray> = try {
        session.run(feeds, outputs.toSet()).use { result ->
            outputs.map { name ->
                val buffer = (result[name].get() as OnnxTensor).floatBuffer
                FloatArray(buffer.remaining()).also(buffer::get)
            }
        }
    } finally {
        feeds.values.forEach(OnnxTensor::close)
    }

    private fun longs(vararg values: Long) = tensor(values, values.size.toLong())

    private fun tensor(values: LongArray, vararg shape: Long): OnnxTensor =
        OnnxTensor.createTensor(bundle!!.environment, LongBuffer.wrap(values), shape)

    private fun floats(values: FloatArray, vararg shape: Long): OnnxTensor =
        OnnxTensor.createTensor(bundle!!.environment, FloatBuffer.wrap(values), shape)

    private fun checkMoment(at: Long, utcOffsetMin: Int) {
        require(at in EARLIEST_S until LATEST_S) { "at must be unix seconds in 1990..2100, got $at" }
        require(abs(utcOffsetMin) <= 840) { "utcOffsetMin must lie in -840..840, got $utcOffsetMin" }
    }
}

/** Local days since Saturday, 3 January 1970, and seconds of the local day. */
private fun dayAndSecond(at: Long, utcOffsetMin: Int): Pair<Long, Long> {
    val local = at + 60L * utcOffsetMin - 2 * 86_400
    return Math.floorDiv(local, 86_400L) to Math.floorMod(local, 86_400L)
}

private fun now() = System.currentTimeMillis() / 1000

private fun localOffset(at: Long) = TimeZone.getDefault().getOffset(1000 * at) / 60_000

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

// Habits: what a user's own past says without a network. A kernel weighs each past behavior j;
//     p(b) = sum_k a_k / (E_k + c_k) sum_j w_k(j) [b_j = b] / Z,  E_k = sum_j w_k(j)

private val WEIGHT = doubleArrayOf(0.01, 0.005, 0.001, 0.005, 0.005, 0.07, 0.03, 0.87) // a_k
private val SHRINKAGE = doubleArrayOf(1.2, 1.5, 4.5, 11.0, 8.5, 25.0, 11.0, 55.0) // c_k, events

/** Probabilities of the candidates with ids 1..numCandidates; all 0 without any past. */
private fun habitsAlone(
    past: List<Past>,
    numCandidates: Int,
    at: Long?,
    utcOffsetMin: Int,
): List<Double> {
    val weights = past.indices.map { kernelWeights(past, it, at, utcOffsetMin) }
    val evidence = DoubleArray(WEIGHT.size) { k -> weights.sumOf { it[k] } }
    val probs = DoubleArray(numCandidates + 1)
    past.forEachIndexed { j, one ->
        for (k in WEIGHT.indices) {
            probs[one.behavior] += WEIGHT[k] * weights[j][k] / (evidence[k] + SHRINKAGE[k])
        }
    }
    val total = probs.sum().takeIf { it > 0 } ?: 1.0
    return probs.drop(1).map { it / total }
}

/**
 * w_k(j): frequency, recency, transition, second order, location, hour, transition at such a moment,
 * location at such a moment.
 */
private fun kernelWeights(past: List<Past>, j: Int, at: Long?, utcOffsetMin: Int): DoubleArray {
    val n = past.size
    val sameLast = one(j >= 1 && past[j - 1].behavior == past[n - 1].behavior)
    val sameLastTwo = one(sameLast > 0 && j >= 2 && past[j - 2].behavior == past[n - 2].behavior)
    val sameLocation = one(j >= 1 && past[j - 1].location == past[n - 1].location)
    val weights = doubleArrayOf(1.0, 0.9.pow(n - 1 - j), sameLast, sameLastTwo, sameLocation)
    if (at == null) return weights + DoubleArray(3)
    val (thenWeekday, thenSlot) = weekdayAndSlot(past[j].at, past[j].utcOffsetMin)
    val (nowWeekday, nowSlot) = weekdayAndSlot(at, utcOffsetMin)
    val sameDayType = one((thenWeekday >= 5) == (nowWeekday >= 5))
    val hour = sameDayType * bell(clockDistance(thenSlot, nowSlot) / 2.0)
    if (j == 0) return weights + doubleArrayOf(hour, 0.0, 0.0)
    val gap = logGap(past[j].at - past[j - 1].at) - logGap(at - past[n - 1].at)
    val alike = bell(clockDistance(thenSlot, nowSlot) / 3.0) * bell(gap / 0.7)
    return weights + doubleArrayOf(hour, sameLast * alike, sameLocation * alike)
}

private fun one(condition: Boolean) = if (condition) 1.0 else 0.0

private fun bell(distance: Double) = exp(-0.5 * distance * distance)

private fun logGap(seconds: Long) = ln1p(max(seconds, 0) / 600.0)

/** Half hours around the clock. */
private fun clockDistance(slot: Int, otherSlot: Int) =
    abs(slot - otherSlot).let { min(it, 48 - it) }

/** Local weekday (Monday = 0) and half hour of the day; 1970 began on a Thursday. */
private fun weekdayAndSlot(at: Long, utcOffsetMin: Int): Pair<Int, Int> {
    val secondOfWeek = Math.floorMod(at + 60L * utcOffsetMin + 3 * 86_400, 7L * 86_400)
    return (secondOfWeek / 86_400).toInt() to (secondOfWeek % 86_400 / 1800).toInt()
}
