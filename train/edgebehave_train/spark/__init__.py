"""Spark: logs into the order of a store, and predictions of a bundle for all users, on a cluster. Extra `spark`.

May import predictions. Spark does the work; docs/spark.md has the commands.
"""
