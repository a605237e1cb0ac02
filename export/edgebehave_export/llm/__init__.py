"""Language models: ONNX files of a tuned model, and their benchmark.

May import bench, and what these may import.
"""
