/** Tensors of ONNX Runtime from plain numbers. */

export const int64s = (ort, values, shape = [values.length]) =>
  new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);

export const floats = (ort, values, shape = [values.length]) =>
  new ort.Tensor("float32", Float32Array.from(values), shape);
