/*
 * On-device next-behavior prediction: observe what a user does, predict what comes next.
 *
 *     val bundle = Bundle({ name -> assets.open("bundle/$name").use { it.readBytes() } })
 *     val predictor = Predictor(bundle)                   // or Predictor(): habits alone
 *     predictor.observe("camera.open", location = "home")
 *     for ((behavior, probability) in predictor.predict(k = 3)) ...
 */

package edgebehave

import java.util.Locale
import kotlin.math.max

private const val HISTORY_EVENTS = 512
private const val A_DAY_S = 86_400L

// A bundle whose vocabulary holds a lower share of at least so many behaviors of a user was made for another log.
private const val FOREIGN_SHARE = 0.2
private const val FOREIGN_EVENTS = 5

/**
 * Predictions for one user; they are a function of the retained events and of the number of events.
 *
 * Calls from several threads wait for each other; predict off the main thread.
 *
 * [bundle] null: habits alone predict, from the first event on. [history] is what [Predictor.history] of an earlier
 * predictor was. [universal] is a universal bundle that answers for users whose names [bundle] hardly holds, see
 * [knownShare]. [maxEvents] events are retained, or as many as the bundle needs if that is more, and none older than
 * [maxAgeS]. [observe] refuses an event dated more than [maxAheadS] seconds after the device's clock; null: any time, as
 * for the replay of a log.
 */
class Predictor(
    private val bundle: Bundle? = null,
    history: History = History(),
    universal: Bundle? = null,
    maxEvents: Int = HISTORY_EVENTS,
    maxAgeS: Long? = null,
    private val maxAheadS: Long? = A_DAY_S,
) {
    private val vocabulary = bundle?.vocabulary ?: Vocabulary.NONE
    private val capacity = bundle?.get("history_events") ?: HISTORY_EVENTS
    private val events = UserHistory(Retention(max(maxEvents, capacity), maxAgeS))
    private val network = bundle?.takeIf { !it.isUniversal }?.let(::Network)
    private val universal = (universal ?: bundle?.takeIf { it.isUniversal })?.let(::Universal)

    /** The answer to a question: all candidates, and whether the universal model gave it. */
    private class Answer(val names: List<String>, val probs: FloatArray, val isNameFree: Boolean)

    init {
        require(universal == null || (universal.isUniversal && network != null)) {
            "universal is a universal bundle beside a bundle with a vocabulary"
        }
        events.put(history)
    }

    /** The retained events, and how many there ever were. */
    val history: History
        @Synchronized get() = History(events.events.toList(), events.count)

    /**
     * The share of the retained events with a behavior whose behavior the vocabulary holds, 0..1; null without any.
     *
     * From five such events on, a share below a fifth says that the bundle was made for another log.
     */
    val knownShare: Double?
        @Synchronized get() = knownBehaviors().let { (known, all) -> if (all > 0) known.toDouble() / all else null }

    private fun knownBehaviors(): Pair<Int, Int> {
        val ids = latest().map { vocabulary.behaviorOf(it.event) }.filter { it != NO_BEHAVIOR }
        return ids.count { it != null && it != UNKNOWN } to ids.size
    }

    /** The retained events from which predictions are made. */
    private fun latest(): List<Event> = events.events.takeLast(capacity)

    /**
     * Take note of an event; no graph runs. Late events go to their position in time.
     *
     * Returns the event as it is retained; null if it was there already: equal in event, location, second and offset.
     * Throws IllegalArgumentException and then notes nothing.
     */
    @Synchronized
    fun observe(
        event: String,
        location: String? = null,
        at: Long = now(),
        utcOffsetMin: Int = localOffsetMin(at),
    ): Event? {
        val moment = Moment(at, utcOffsetMin)
        val ahead = at - now()
        require(maxAheadS == null || ahead <= maxAheadS) {
            "the event is dated ${"%.1f".format(Locale.ROOT, ahead / 86_400.0)} days after this device's clock: " +
                "correct its time, or pass maxAheadS = null to replay a log"
        }
        val place = location?.let { checkedName(it, "location") }
        val noted = Event(checkedName(event, "event"), place, moment.at, moment.utcOffsetMin)
        return if (events.add(noted)) noted else null
    }

    /** Drop everything about the user. */
    @Synchronized
    fun forget() {
        events.erase { true }
    }

    /**
     * Erase the retained events that fit all that is given, at least one thing, as if they had never been: [at] is the
     * second of the event, or with [until] the first of a span. Returns their number.
     */
    @Synchronized
    fun forgetEvents(event: String? = null, location: String? = null, at: Long? = null, until: Long? = null): Int {
        require(event != null || location != null || at != null || until != null) {
            "forgetEvents needs an event, a location, at or until; see forget"
        }
        val (wanted, place) = event?.let { checkedName(it, "event") } to location?.let { checkedName(it, "location") }
        val firstS = at ?: 0
        val lastS = until ?: at ?: LATEST_S
        require(lastS >= firstS) { "until lies ${firstS - lastS} s before at" }
        return events.erase {
            (wanted == null || it.event == wanted) && (place == null || it.location == place) && it.at in firstS..lastS
        }
    }

    /** The history as JSON text, names included, for [importUser] here or `import_user` of the SDK in Python. */
    @Synchronized
    fun exportUser(): String {
        check(events.events.isNotEmpty()) { "there is no event to export" }
        return writeUser(history)
    }

    /** Read such text into a predictor without events. Throws IllegalArgumentException if it is something else. */
    @Synchronized
    fun importUser(text: String) {
        val imported = readUser(text)
        check(events.events.isEmpty()) { "there is a history already: forget it first" }
        events.put(imported)
    }

    /**
     * The [k] most probable next behaviors, the most probable first.
     *
     * [at] null: the moment is not known. [location] is the location to predict for, for bundles with query_context
     * "time_location". [tail] is the strength of the shift toward rare behaviors, 0..1; above 0 it needs a bundle with
     * a vocabulary. [withinS]: predict the next behavior within so many seconds after [at]; [NOTHING] is then a
     * candidate; this needs a bundle whose model was trained with generation heads. If the most probable behavior has
     * less than [minConfidence], the answer is empty.
     */
    @Synchronized
    fun predict(
        k: Int = 5,
        at: Long? = now(),
        location: String? = null,
        utcOffsetMin: Int = localOffsetMin(at ?: now()),
        tail: Double = 0.0,
        withinS: Double? = null,
        minConfidence: Double = 0.0,
    ): List<Prediction> {
        require(k >= 1) { "k must be at least 1, got $k" }
        require(minConfidence in 0.0..1.0) { "minConfidence must lie in 0..1, got $minConfidence" }
        val answer = answer(at?.let { Moment(it, utcOffsetMin) }, location, tail, withinS)
        val best = bestFirst(answer.probs).take(k)
        if (best.isEmpty() || answer.probs[best.first()] < minConfidence.toFloat()) return emptyList()
        return best.map { Prediction(answer.names[it], answer.probs[it]) }
    }

    /**
     * The smallest set that holds the next behavior in a share [coverage] of the cases, the most probable first.
     *
     * A bundle has thresholds for every hundredth, and the next higher one is used. The universal model has none: its
     * set is the smallest whose probabilities sum to [coverage]. Habits alone have no sets.
     */
    @Synchronized
    fun predictionSet(
        coverage: Double = 0.9,
        at: Long? = now(),
        location: String? = null,
        utcOffsetMin: Int = localOffsetMin(at ?: now()),
    ): List<Prediction> {
        require(coverage in 0.0..1.0) { "coverage must lie in 0..1, got $coverage" }
        checkNotNull(bundle) { "predictionSet needs a bundle; use predict" }
        val answer = answer(at?.let { Moment(it, utcOffsetMin) }, location, 0.0, null)
        if (answer.names.isEmpty()) return emptyList()
        val probs = answer.probs
        val inside =
            if (answer.isNameFree) mostProbable(probs, coverage) else bundle.thresholds!!.members(probs, coverage)
        return inside.map { Prediction(answer.names[it], probs[it]) }
    }

    private fun answer(moment: Moment?, location: String?, tail: Double, withinS: Double?): Answer {
        require(tail in 0.0..1.0) { "tail must lie in 0..1, got $tail" }
        require(tail == 0.0 || network != null) { "tail needs the class priors of a bundle; leave it out" }
        require(location == null || bundle?.queryContext == "time_location") {
            "location is not part of this prediction: it needs a bundle with query_context \"time_location\""
        }
        val question = Question(latest(), events.count, events.changes, moment, location, tail)
        if (withinS == null) return atMoment(question)
        require(withinS > 0) { "withinS must be seconds above 0, got $withinS" }
        val wait = bundle?.wait
        requireNotNull(wait) {
            "within needs a bundle that knows waiting times: train with `--set generation_heads=true` and export again"
        }
        requireNotNull(moment) { "within counts from a moment: at must not be null" }
        val (atMedian, nothing) = wait(wait, question, moment, withinS)
        val answer = atMoment(question.copy(moment = atMedian))
        val scale = (1 - nothing).toFloat()
        val probs = FloatArray(answer.probs.size) { answer.probs[it] * scale } + nothing.toFloat()
        return Answer(answer.names + NOTHING, probs, answer.isNameFree)
    }

    /** Whether the bundle was made for a log of other names. */
    private fun isForeign(): Boolean {
        val (known, all) = knownBehaviors()
        return all >= FOREIGN_EVENTS && known < FOREIGN_SHARE * all
    }

    private fun atMoment(question: Question): Answer {
        if (universal != null && (network == null || isForeign())) {
            if (question.events.isEmpty()) return Answer(emptyList(), FloatArray(0), true)
            val (names, probs) = universal.probs(question, vocabulary)
            return Answer(names, probs, true)
        }
        val past = pastOf(question)
        val probs = when {
            bundle == null || network == null -> habitsAlone(past.behaviors, past.names.size, question.moment)
            question.events.isEmpty() || (bundle.hasHabits && past.behaviors.isEmpty()) -> priors(bundle, question.tail)
            else -> run(bundle, network, question, past)
        }
        return Answer(past.names, probs, false)
    }

    private fun pastOf(question: Question) = pastOf(
        question.events,
        vocabulary,
        bundle?.get("habit_events") ?: HISTORY_EVENTS,
        bundle?.get("num_spare") ?: HISTORY_EVENTS,
    )

    private fun priors(bundle: Bundle, tail: Double): FloatArray {
        val priors = if (tail > 0) shifted(bundle.classPriors, bundle.tailLogRatio, tail) else bundle.classPriors
        return priors.copyOfRange(1, priors.size) // id 0 is the unknown behavior
    }

    /** Probabilities of the candidates from predict.onnx. */
    private fun run(bundle: Bundle, network: Network, question: Question, past: Past): FloatArray {
        val moment = question.moment
        val inputs = mapOf(
            "hidden" to network.hidden(question),
            "tail" to Floats(floatArrayOf(question.tail.toFloat()), LongArray(0)),
            "time_s" to long(moment?.at ?: 0),
            "utc_offset_min" to long(moment?.utcOffsetMin?.toLong() ?: 0),
            "time_known" to long(if (moment == null) 0 else 1),
            "location" to long(vocabulary.locationId(question.location).toLong()),
            "history" to past.tensor(),
        )
        val taken = bundle.predict.inputNames.associateWith { inputs.getValue(it) }
        val probs = bundle.predict.run(taken, listOf("probs")).single()
        return probs.copyOfRange(1, 1 + past.names.size) // id 0 is the unknown behavior
    }

    /** The median moment of the next behavior if it comes in time, and p(nothing comes). */
    private fun wait(graph: Graph, question: Question, moment: Moment, withinS: Double): Pair<Moment, Double> {
        val past = pastOf(question)
        require(past.behaviors.isNotEmpty()) { "within counts from a last behavior, and there is none yet" }
        val inputs = mapOf(
            "hidden" to network!!.hidden(question),
            "history" to past.tensor(),
            "num_real" to Longs(longArrayOf(past.behaviors.size.toLong()), LongArray(0)),
        )
        val (gapS, probs) = graph.run(inputs, listOf("gap_s", "probs"))
        val gap = WaitingTime(gapS, probs)
        val lastS = past.behaviors.last().moment.at
        val waitedS = max(0, moment.at - lastS).toDouble()
        val medianS = gap.median(waitedS, waitedS + withinS).toLong()
        return Moment(lastS + medianS, moment.utcOffsetMin) to gap.nothingWithin(waitedS, withinS)
    }
}
