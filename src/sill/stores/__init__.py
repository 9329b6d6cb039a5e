"""Ports and drivers that remember: database, blobs, online key-values."""
