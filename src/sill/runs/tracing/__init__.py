"""Traces of calls: spans, what people and judges say of them, issues and scorers."""
