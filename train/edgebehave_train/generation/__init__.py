"""Generation: the future of users, event by event.

May import training, and what these may import.
"""
