"""Our HTTP API, and the one place where parts are wired together."""
