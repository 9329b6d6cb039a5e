"""Graphs of steps, each a run, cached on code and inputs."""
