"""Kernels: weights over a user's own past, for behaviors, waiting times and locations.

May import logs, and what these may import.
"""
