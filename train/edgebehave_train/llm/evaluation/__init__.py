"""Evaluation: the balanced and the users protocol of BehaviorLM, beside other predictors.

May import tuning, and what these may import.
"""
