"""The stand-in: a small language model trained here on text about the simulator.

May import scoring and the simulator, and what these may import.
"""
