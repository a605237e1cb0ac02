"""The model: the BehaveGPT network, its attention, its generation heads, and adapters.

May import kernels, and what these may import.
"""
