"""Version of the runtime; a bundle names the oldest version that can read it."""

__version__ = "0.1.0"
