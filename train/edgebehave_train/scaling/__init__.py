"""Scaling: grids of training runs, and the law of their losses.

May import training, and what these may import.
"""
