"""The simulator: event logs from a known process, with the best reachable accuracy.

May import files.
"""
