"""Graphs: the ONNX graphs of a bundle, made from a trained model.

May import nothing else of this package.
"""
