"""Brings experiments, runs and models from an MLflow store into Sill, and back. A client: it speaks HTTP or reads files."""
