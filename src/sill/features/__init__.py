"""Feature views: one definition for training sets and online lookups."""
