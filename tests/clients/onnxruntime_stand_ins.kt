// Declarations of what clients/kotlin takes from ONNX Runtime, to compile it without it.

@file:Suppress("UNUSED_PARAMETER", "unused")

package ai.onnxruntime

import java.nio.FloatBuffer
import java.nio.LongBuffer
import java.util.Optional

interface OnnxValue : AutoCloseable

class OnnxTensor : OnnxValue {
    val floatBuffer: FloatBuffer get() = TODO()
    override fun close() = TODO()

    companion object {
        fun createTensor(env: OrtEnvironment, data: LongBuffer, shape: LongArray): OnnxTensor = TODO()
        fun createTensor(env: OrtEnvironment, data: FloatBuffer, shape: LongArray): OnnxTensor = TODO()
    }
}

class OrtEnvironment {
    fun createSession(model: ByteArray, options: OrtSession.SessionOptions): OrtSession = TODO()

    companion object {
        fun getEnvironment(): OrtEnvironment = TODO()
    }
}

class OrtSession {
    val inputNames: Set<String> get() = TODO()
    fun run(inputs: Map<String, OnnxTensor>, outputs: Set<String>): Result = TODO()

    class SessionOptions {
        fun setIntraOpNumThreads(count: Int) = Unit
        fun setInterOpNumThreads(count: Int) = Unit
    }

    class Result : AutoCloseable {
        operator fun get(name: String): Optional<OnnxValue> = TODO()
        override fun close() = TODO()
    }
}
