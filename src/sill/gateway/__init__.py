"""A router in front of several inference processes: no request fails because one of them does."""
