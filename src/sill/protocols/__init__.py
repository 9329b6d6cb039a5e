"""Foreign dialects, translated to the same services."""
