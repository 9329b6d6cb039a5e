"""Which waiting run starts now, and why the others wait: pure decisions on a snapshot."""
