"""Evaluation datasets: what applications are asked, and what should come of it."""
