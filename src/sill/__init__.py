"""Sill: the hidden layer under AI, from raw data to a model that watches and retrains itself."""

__version__ = "0.1.0"
