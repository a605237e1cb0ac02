"""Histories: the retained events of each user, in memory, in SQLite, and as ids of a vocabulary.

May import names, moments and vocabulary of the runtime, and what these may import.
"""
