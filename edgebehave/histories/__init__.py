"""Histories: the retained events of each user, in memory, in SQLite, and as ids of a vocabulary.

May import arguments, moments and vocabulary of the runtime.
"""
