package edgebehave

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.nio.FloatBuffer
import java.nio.LongBuffer

/** Graphs on ONNX Runtime: the packages onnxruntime (JVM) and onnxruntime-android have the same classes. */
class OnnxGraph(model: ByteArray) : Graph {
    private val environment = OrtEnvironment.getEnvironment()
    private val session: OrtSession

    init {
        // The graphs are so small that a second thread costs more than it does.
        val options = OrtSession.SessionOptions().apply {
            setIntraOpNumThreads(1)
            setInterOpNumThreads(1)
        }
        session = environment.createSession(model, options)
    }

    override val inputNames: Set<String> get() = session.inputNames

    override fun run(inputs: Map<String, Tensor>, outputs: List<String>): List<FloatArray> {
        val feeds = inputs.mapValues { (_, tensor) -> onnxTensor(tensor) }
        try {
            return session.run(feeds, outputs.toSet()).use { result ->
                outputs.map { name ->
                    val buffer = (result[name].get() as OnnxTensor).floatBuffer
                    FloatArray(buffer.remaining()).also(buffer::get)
                }
            }
        } finally {
            feeds.values.forEach(OnnxTensor::close)
        }
    }

    private fun onnxTensor(tensor: Tensor) = when (tensor) {
        is Longs -> OnnxTensor.createTensor(environment, LongBuffer.wrap(tensor.values), tensor.shape)
        is Floats -> OnnxTensor.createTensor(environment, FloatBuffer.wrap(tensor.values), tensor.shape)
    }
}
