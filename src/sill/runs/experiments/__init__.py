"""Experiments: what runs are grouped in. Names and rules are MLflow's."""
