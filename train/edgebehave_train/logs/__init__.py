"""Logs: reading event logs, the event store, its parts, and a log in the ids of a vocabulary.

May import files, and what these may import.
"""
