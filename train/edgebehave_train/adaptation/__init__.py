"""Adaptation: new behaviors from few examples, and transfer to another log.

May import training, and what these may import.
"""
