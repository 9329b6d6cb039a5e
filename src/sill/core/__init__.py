"""Ids, errors, clock, settings, events: values and rules that every stage shares. No I/O."""
