"""Evaluation: tables of models and baselines on the same targets, and their figures.

May import training, and what these may import.
"""
