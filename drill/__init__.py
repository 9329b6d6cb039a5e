"""Breaks one thing after another while plain clients ask: `python -m drill`."""
