"""Weights from event logs: ingest, model, objectives, pretraining, evaluation."""
