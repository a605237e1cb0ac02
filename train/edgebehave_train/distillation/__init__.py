"""Distillation: a student learns from the answers of teachers.

May import adaptation and llm, and what these may import.
"""
