"""Bundles from checkpoints: ONNX graphs, quantization, parity gate."""
