"""BehaviorLM (arXiv 2505.17682): a language model, tuned in two stages, predicts behaviors.

May import evaluation, and what these may import.
"""
