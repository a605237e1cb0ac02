"""Prompts: samples of a log as text, and text as the token ids of a language model.

May import training, and what these may import.
"""
