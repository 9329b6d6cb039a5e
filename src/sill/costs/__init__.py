"""What everything costs: resource use, money, energy, carbon."""
