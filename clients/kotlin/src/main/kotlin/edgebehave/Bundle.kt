package edgebehave

internal const val UNKNOWN = 0 // id of names that a vocabulary lacks, and of no location
internal const val NO_BEHAVIOR = -1 // of an event that is input only
private const val FORMAT_VERSION = 2L

/** Names and their ids, as in vocabulary.json; id 0 is unknown. */
class Vocabulary internal constructor(
    val events: List<String>,
    val locations: List<String>,
    val behaviors: List<String>,
    val eventToBehavior: List<Int>,
) {
    private val eventIds = events.withIndex().associate { (id, name) -> name to id }
    private val locationIds = locations.withIndex().associate { (id, name) -> name to id }
    private val behaviorIds = behaviors.withIndex().associate { (id, name) -> name to id }

    internal fun eventId(name: String) = eventIds[name] ?: UNKNOWN

    internal fun locationId(name: String?) = locationIds[name] ?: UNKNOWN

    /** Id of the behavior of an event: NO_BEHAVIOR for input only, null for a name of the user's own. */
    internal fun behaviorOf(event: String): Int? = when (val eventId = eventId(event)) {
        UNKNOWN -> behaviorIds[event]?.takeIf { it != UNKNOWN }
        else -> eventToBehavior[eventId]
    }

    internal companion object {
        /** Of universal bundles and of habits alone: every name is one of the user's own. */
        val NONE = listOf("<unknown>").let { Vocabulary(it, it, it, listOf(UNKNOWN)) }
    }
}

/**
 * A bundle of `edgebehave export --target web`, or a universal one, read, verified and opened.
 *
 * [read] gives the content of a file of the bundle's folder, [opener] opens a graph.
 * Throws IllegalArgumentException that says what is wrong with the bundle.
 */
class Bundle(read: (String) -> ByteArray, opener: GraphOpener = GraphOpener(::OnnxGraph)) {
    val isUniversal: Boolean
    val vocabulary: Vocabulary
    internal val classPriors: FloatArray
    internal val tailLogRatio: DoubleArray
    internal val thresholds: Thresholds?
    internal val queryContext: String
    internal val hasHabits: Boolean
    internal val observe: Graph? // null: universal
    internal val predict: Graph
    internal val wait: Graph? // null: the model knows no waiting times
    private val shape: Map<*, *>

    init {
        val text = String(read("manifest.json"), Charsets.UTF_8)
        val manifest = Json.parse(text) as Map<*, *>
        val (format, target) = manifest["format_version"] to manifest["target"]
        isUniversal = manifest["kind"] == "universal"
        require(format == FORMAT_VERSION && (isUniversal || target == "web")) {
            "this client reads bundles of format $FORMAT_VERSION for the web, got format $format for $target; " +
                "export again with --target web"
        }
        // The manifest holds the digests of the other files, and its own digest with zeros in place of it.
        val undigested = text.replace(Regex("(?<=\"digest\": \")[0-9a-f]{64}(?=\")"), "0".repeat(64))
        verify("manifest.json", undigested.toByteArray(), manifest["digest"])
        val files = manifest["files"] as Map<*, *>
        val verified = { name: String -> verify(name, read(name), (files[name] as Map<*, *>)["sha256"]) }
        shape = manifest["model"] as Map<*, *>
        queryContext = shape["query_context"] as? String ?: "none"
        hasHabits = shape["habits"] == true
        predict = opener.open(verified("predict.onnx"))
        if (isUniversal) {
            vocabulary = Vocabulary.NONE
            classPriors = FloatArray(0)
            tailLogRatio = DoubleArray(0)
            thresholds = null
            observe = null
            wait = null
        } else {
            val names = Json.parse(String(verified("vocabulary.json"), Charsets.UTF_8)) as Map<*, *>
            fun strings(kind: String) = (names[kind] as List<*>).map { it as String }
            vocabulary = Vocabulary(
                strings("events"),
                strings("locations"),
                strings("behaviors"),
                (names["event_to_behavior"] as List<*>).map { (it as Long).toInt() },
            )
            fun numbers(values: Any?) = (values as List<*>).map { (it as Number).toDouble() }.toDoubleArray()
            classPriors = numbers(manifest["class_priors"]).let { all -> FloatArray(all.size) { all[it].toFloat() } }
            tailLogRatio = numbers((manifest["tail"] as Map<*, *>)["log_ratio"])
            val conformal = manifest["conformal"] as Map<*, *>
            thresholds = Thresholds(numbers(conformal["coverage"]), numbers(conformal["threshold"]))
            observe = opener.open(verified("observe.onnx"))
            wait = if ("wait.onnx" in files) opener.open(verified("wait.onnx")) else null
        }
    }

    /** A number of the model. */
    internal operator fun get(name: String): Int = (shape[name] as Long).toInt()

    private fun verify(name: String, content: ByteArray, digest: Any?): ByteArray {
        require(sha256(content) == digest) {
            "$name of the bundle is damaged: its SHA-256 is another; copy it again"
        }
        return content
    }
}
