"""Deletion that deletes: for a while it can be undone, then rows and bytes are gone."""
