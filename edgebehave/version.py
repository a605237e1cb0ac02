"""Version of the runtime; bundles name the oldest one that can read them."""

__version__ = "0.1.0"
