"""The report of a run: one HTML file that a browser opens without a network."""
