"""Predictions of a bundle for all users of a store: the events that a model can see, shards of users, the file.

May import files and logs. Needs no torch.
"""
