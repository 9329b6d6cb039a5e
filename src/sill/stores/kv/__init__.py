"""Online key-values, in memory or in Redis."""
