"""Connectors: files, databases, addresses and folders, unified on the way in."""
