"""Schedules and rules that start runs, which closes the loop."""
