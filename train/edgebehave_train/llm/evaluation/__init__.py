"""Evaluation: the balanced and the natural protocol of BehaviorLM, beside other predictors.

May import tuning, and what these may import.
"""
