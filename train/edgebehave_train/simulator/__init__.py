"""The simulator: event logs from a known process, with the best reachable accuracy.

May import nothing else of this package, and what these may import.
"""
