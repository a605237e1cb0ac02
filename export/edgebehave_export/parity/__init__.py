"""Parity: a bundle is compared with its checkpoint on real histories.

May import graphs, and what these may import.
"""
