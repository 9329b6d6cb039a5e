"""Revisions, in order. They are never changed once released."""
