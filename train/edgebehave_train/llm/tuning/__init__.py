"""Tuning: anchor and balanced stages of BehaviorLM, and the folder of a tuned model.

May import scoring, and what these may import.
"""
