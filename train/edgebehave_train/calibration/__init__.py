"""Calibration: what a bundle needs beside the model, fitted on the validation part.

May import evaluation, and what these may import.
"""
