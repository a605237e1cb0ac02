"""Checkpoints and bundles on a hub: huggingface.co, or a folder that several people can read."""
