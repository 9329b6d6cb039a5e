"""Queues as people declare them: quotas, budgets, reservations, maintenance. What they come to is `scheduler`'s."""
