"""Declared endpoints, their revisions, and the serving plan the inference plane follows."""
