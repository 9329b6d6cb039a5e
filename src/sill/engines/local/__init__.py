"""Supervised processes on this machine that outlive the control plane."""
