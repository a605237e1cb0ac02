"""Scoring: a language model with adapters, and its exact probabilities of all candidate answers.

May import prompts, and what these may import.
"""
