"""What runs inside a run's process on a node, and speaks to the platform as a client."""
