"""Training: recipes, objectives, the pretraining loop, and the checkpoint.

May import metrics, and what these may import.
"""
