"""Scoring: what a language model answers, by exact scores of all candidates or as written.

May import prompts, and what these may import.
"""
