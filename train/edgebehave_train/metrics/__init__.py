"""Metrics: probabilities of a model at the targets of a log, their ranks, and intervals.

May import model, and what these may import.
"""
