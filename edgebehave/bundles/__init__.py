"""Bundles: reading and checking the files that ship to a device, and running their graphs.

May import histories and answers, and what these may import.
"""
