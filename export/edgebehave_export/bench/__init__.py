"""Benchmarks: the latency and size of a bundle beside torch.

May import bundle, and what these may import.
"""
