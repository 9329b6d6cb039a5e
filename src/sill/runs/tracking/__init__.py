"""Experiments, metrics, params, tags and artifacts of runs."""
