"""Ports and drivers that start processes. An engine starts, watches and stops a gang; it decides nothing."""
