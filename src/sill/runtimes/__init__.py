"""Ports and drivers that make a model answer."""
