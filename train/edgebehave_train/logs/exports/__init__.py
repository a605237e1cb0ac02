"""Readers of exports that people own: ActivityWatch, Takeout, browsers and others, each recognized by its content.

    file -> the reader that recognizes it -> events of one user -> JSON Lines that ingest reads

`registry.py` lists the readers; a package adds its own by an entry point of the group `edgebehave.log_readers`.
"""
