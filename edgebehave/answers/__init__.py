"""Answers: predictions, the question behind them, prediction sets, waiting times, and sampling.

May import histories, and what these may import.
"""
