"""Studies and trials."""
