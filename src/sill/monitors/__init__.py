"""Drift, quality and SLOs over windows of traffic; incidents with their evidence."""
