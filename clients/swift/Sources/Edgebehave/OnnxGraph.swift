import Foundation
import OnnxRuntimeBindings

/// A graph on ONNX Runtime.
public final class OnnxGraph: Graph {
  private let environment: ORTEnv
  private let session: ORTSession
  public let inputNames: [String]

  public init(file: URL) throws {
    environment = try ORTEnv(loggingLevel: .warning)
    // The graphs are so small that a second thread costs more than it does.
    let options = try ORTSessionOptions()
    try options.setIntraOpNumThreads(1)
    session = try ORTSession(env: environment, modelPath: file.path, sessionOptions: options)
    inputNames = try session.inputNames()
  }

  public func run(_ inputs: [String: Tensor], _ outputs: [String]) throws -> [[Float]] {
    let results = try session.run(
      withInputs: try inputs.mapValues(value), outputNames: Set(outputs), runOptions: nil)
    return try outputs.map { name in
      let data = try results[name]!.tensorData() as Data
      return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
  }

  private func value(_ tensor: Tensor) throws -> ORTValue {
    switch tensor {
    case .longs(let values, let shape):
      let content = values.map { Int64($0) }.withUnsafeBytes { NSMutableData(data: Data($0)) }
      return try ORTValue(
        tensorData: content, elementType: .int64, shape: shape.map { NSNumber(value: $0) })
    case .floats(let values, let shape):
      let content = values.withUnsafeBytes { NSMutableData(data: Data($0)) }
      return try ORTValue(
        tensorData: content, elementType: .float, shape: shape.map { NSNumber(value: $0) })
    }
  }
}
