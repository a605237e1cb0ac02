"""Batches for training, read from the event store piece by piece.

May import logs, kernels, model, and what these may import.
"""
