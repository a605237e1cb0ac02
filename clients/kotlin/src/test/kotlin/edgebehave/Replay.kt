/*
 * Plays recorded scenarios through the client, on a JVM, without ONNX Runtime.
 *
 *     java -cp ... edgebehave.ReplayKt SCENARIOS.jsonl RUNS.bin
 *
 * The first line of SCENARIOS holds the names of the inputs of each graph; each other line is a scenario: folders of
 * bundles, options, and steps, which are calls of the Predictor. RUNS holds, for each run of a graph that the SDK in
 * Python made for these steps, in that order, the SHA-256 of every tensor that it gave to the graph, and what the graph
 * answered. Prints the answers of each scenario as a line of JSON. If a scenario is strict, ends with an error at the
 * first tensor that is not the SDK's to the bit.
 */

package edgebehave

import java.io.DataInputStream
import java.io.File
import java.nio.ByteBuffer
import java.security.MessageDigest

/** The runs of graphs that were recorded. */
private class Runs(private val input: DataInputStream) {
    var isStrict = true
    private var number = 0

    fun next(inputs: Map<String, Tensor>, outputs: List<String>): List<FloatArray> {
        number += 1
        val expected = named { ByteArray(32).also(input::readFully).toList() }
        check(!isStrict || inputs.keys == expected.keys) { "run $number: inputs ${inputs.keys}, not ${expected.keys}" }
        for ((name, tensor) in inputs) {
            check(!isStrict || digest(tensor) == expected[name]) {
                "run $number: $name is another one; here it is ${shown(tensor)}"
            }
        }
        val answers = named {
            val bytes = ByteArray(4 * input.readInt()).also(input::readFully)
            FloatArray(bytes.size / 4).also { ByteBuffer.wrap(bytes).asFloatBuffer().get(it) }
        }
        return outputs.map(answers::getValue)
    }

    fun checkEnd() = check(input.read() == -1) { "fewer runs than in Python: $number" }

    private fun <T> named(value: () -> T): Map<String, T> =
        (1..input.readInt()).associate { input.readUTF() to value() }

    private fun digest(tensor: Tensor): List<Byte> {
        val size = 8 * tensor.shape.size + 1 + when (tensor) {
            is Longs -> 8 * tensor.values.size
            is Floats -> 4 * tensor.values.size
        }
        val bytes = ByteBuffer.allocate(size)
        tensor.shape.forEach(bytes::putLong)
        when (tensor) {
            is Longs -> bytes.put('i'.code.toByte()).also { tensor.values.forEach(bytes::putLong) }
            is Floats -> bytes.put('f'.code.toByte()).also { tensor.values.forEach(bytes::putFloat) }
        }
        return MessageDigest.getInstance("SHA-256").digest(bytes.array()).toList()
    }

    private fun shown(tensor: Tensor) = when (tensor) {
        is Longs -> "${tensor.shape.toList()} ${tensor.values.take(20)}"
        is Floats -> "${tensor.shape.toList()} ${tensor.values.take(20)}"
    }
}

/** A predictor and its steps. */
private class Scenario(private val fields: Map<*, *>, private val open: (String) -> Bundle) {
    private val bundle = (fields["bundle"] as String?)?.let(open)
    private val universal = (fields["universal"] as String?)?.let(open)
    private val options = fields["options"] as? Map<*, *> ?: emptyMap<String, Any?>()
    private var predictor = predictorOf(History())

    private fun predictorOf(history: History) = Predictor(
        bundle,
        history,
        universal,
        maxAgeS = options["maxAgeS"] as Long?,
        maxAheadS = null,
    )

    fun play(): List<String> = (fields["steps"] as List<*>).mapNotNull { step ->
        val told = step as List<*>
        call(told.first() as String, told.getOrNull(1), told.lastOrNull() as? Map<*, *> ?: emptyMap<String, Any?>())
    }

    private fun call(step: String, first: Any?, given: Map<*, *>): String? {
        val at = given["at"] as Long?
        val location = given["location"] as String?
        val offset = (given["utcOffsetMin"] as Long? ?: 0).toInt()
        fun number(name: String) = (given[name] as Number?)?.toDouble()
        when (step) {
            "observe" -> predictor.observe(first as String, location, at!!, offset)
            "restore" -> predictor = predictorOf(predictor.history)
            "forget" -> predictor.forget()
            "importUser" -> predictor.importUser(first as String)
            "wait" -> Unit
            "predict" -> {
                val k = (given["k"] as Long? ?: 5).toInt()
                val (tail, least) = (number("tail") ?: 0.0) to (number("minConfidence") ?: 0.0)
                return shown(predictor.predict(k, at, location, offset, tail, number("within"), least))
            }
            "predictionSet" ->
                return shown(predictor.predictionSet(number("coverage") ?: 0.9, at, location, offset))
            "forgetEvents" ->
                return "${predictor.forgetEvents(given["event"] as String?, location, at, given["until"] as Long?)}"
            "exportUser" -> return Json.quoted(predictor.exportUser())
            "knownShare" -> return "${predictor.knownShare}"
            else -> error("no step $step")
        }
        return null
    }

    private fun shown(answer: List<Prediction>) = answer.joinToString(", ", "[", "]") { (behavior, probability) ->
        "{\"behavior\": ${Json.quoted(behavior)}, \"probability\": $probability}"
    }
}

fun main(arguments: Array<String>) {
    val (scenarios, recorded) = arguments
    DataInputStream(File(recorded).inputStream().buffered()).use { input ->
        val runs = Runs(input)
        val lines = File(scenarios).readLines().map { Json.parse(it) as Map<*, *> }
        val inputsOf = lines.first()
        val opener = GraphOpener { model ->
            object : Graph {
                override val inputNames = (inputsOf[sha256(model)] as List<*>).map { it as String }.toSet()

                override fun run(inputs: Map<String, Tensor>, outputs: List<String>) = runs.next(inputs, outputs)
            }
        }
        val bundles = HashMap<String, Bundle>()
        val open = { folder: String ->
            bundles.getOrPut(folder) { Bundle({ name -> File(folder, name).readBytes() }, opener) }
        }
        for (fields in lines.drop(1)) {
            runs.isStrict = fields["strict"] == true
            println(Scenario(fields, open).play().joinToString(", ", "[", "]"))
        }
        runs.checkEnd()
    }
}
