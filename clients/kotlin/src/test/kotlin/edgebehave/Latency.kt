/*
 * Latency of a bundle on this device; measure_on_phone.sh runs it on an Android phone.
 *
 *     java -cp ... edgebehave.LatencyKt BUNDLE [ROUNDS]
 *
 * A user with a full history of random events is asked about after each new event. Prints the device, the warm-up, and
 * median, 90th and 99th percentile of the rounds.
 */

package edgebehave

import java.io.File
import kotlin.random.Random
import kotlin.system.measureNanoTime

private const val WARM_UP = 50
private const val HISTORY = 600
private const val START_S = 1_767_268_800L

private fun report(what: String, nanoseconds: List<Long>) {
    val sorted = nanoseconds.sorted()
    val shares = listOf(50, 90, 99).map { sorted[(sorted.size - 1) * it / 100] / 1000 }
    println("$what  median ${shares[0]} us  p90 ${shares[1]} us  p99 ${shares[2]} us")
}

fun main(arguments: Array<String>) {
    val folder = arguments[0]
    val rounds = arguments.getOrNull(1)?.toInt() ?: 500
    fun property(name: String) = System.getProperty(name).orEmpty()
    println("${property("java.vm.name")} ${property("java.vm.version")}, ${property("os.name")} ${property("os.arch")}")

    lateinit var bundle: Bundle
    val opening = measureNanoTime { bundle = Bundle({ name -> File(folder, name).readBytes() }) }
    println("bundle opened in ${opening / 1_000_000} ms")

    val random = Random(1)
    val names = bundle.vocabulary.events.drop(1).ifEmpty { List(30) { "event $it" } }
    val places = bundle.vocabulary.locations.drop(1).ifEmpty { List(8) { "place $it" } }
    val predictor = Predictor(bundle, maxAheadS = null)
    var at = START_S
    fun observe() {
        at += random.nextLong(60, 7200)
        predictor.observe(names.random(random), places.random(random), at, 60)
    }
    repeat(HISTORY) { observe() }
    println("first prediction in ${measureNanoTime { predictor.predict(at = at, utcOffsetMin = 60) } / 1000} us")
    val observed = ArrayList<Long>()
    val predicted = ArrayList<Long>()
    repeat(WARM_UP + rounds) {
        observed.add(measureNanoTime { observe() })
        predicted.add(measureNanoTime { predictor.predict(k = 5, at = at + 60, utcOffsetMin = 60) })
    }
    println("$rounds rounds after $WARM_UP of warm-up, history of $HISTORY events")
    report("observe", observed.drop(WARM_UP))
    report("predict, with the step of the network", predicted.drop(WARM_UP))
}
