"""Which waiting work starts now, where, and why the rest waits: pure decisions on a state that a journal leads to."""
