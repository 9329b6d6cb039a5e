"""The terminal client: one SDK call, one line out."""
