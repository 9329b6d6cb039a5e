"""Webhooks: who is told of which events, and the one mechanism by which this house delivers to addresses of others."""
