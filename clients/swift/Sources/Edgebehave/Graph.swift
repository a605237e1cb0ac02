/// An input of a graph.
public enum Tensor {
  /// Whole numbers, int64, and their sizes; no sizes: a single number.
  case longs([Int], [Int])
  /// Real numbers, float32.
  case floats([Float], [Int])

  static func long(_ value: Int) -> Tensor { .longs([value], [1]) }
}

/// A graph of a bundle, opened. The rest of this library knows nothing else of ONNX Runtime.
public protocol Graph {
  var inputNames: [String] { get }

  /// The float32 values of these outputs.
  func run(_ inputs: [String: Tensor], _ outputs: [String]) throws -> [[Float]]
}
