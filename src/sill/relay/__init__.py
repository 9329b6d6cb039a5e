"""A small process between MLflow's clients on this machine and the server: what they log outlives an outage."""
