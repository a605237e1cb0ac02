package edgebehave

/** An input of a graph. */
sealed interface Tensor {
    /** Sizes; empty for a single number. */
    val shape: LongArray
}

/** Whole numbers, int64. */
class Longs(val values: LongArray, override val shape: LongArray = longArrayOf(values.size.toLong())) : Tensor

/** Real numbers, float32. */
class Floats(val values: FloatArray, override val shape: LongArray = longArrayOf(values.size.toLong())) : Tensor

internal fun long(value: Long) = Longs(longArrayOf(value))

/** A graph of a bundle, opened. The rest of this library knows nothing else of ONNX Runtime, nor of Android. */
interface Graph {
    val inputNames: Set<String>

    /** The float32 values of these outputs. */
    fun run(inputs: Map<String, Tensor>, outputs: List<String>): List<FloatArray>
}

/** Opens the graph of an ONNX file. */
fun interface GraphOpener {
    fun open(model: ByteArray): Graph
}
