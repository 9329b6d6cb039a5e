"""Measurements of a platform as it is shipped, on this machine. `python -m bench` runs them all; nothing asserts."""
