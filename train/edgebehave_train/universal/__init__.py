"""Universal: one model for any log. It knows no names; it learns from random worlds how users repeat themselves.

May import training, the simulator, and what these may import.
"""
