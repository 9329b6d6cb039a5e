"""The web client: static pages over the public API."""
