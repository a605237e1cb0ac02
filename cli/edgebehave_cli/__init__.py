"""The `edgebehave` command: one file per verb, no logic."""
