"""The door for MLflow's clients: the routes of `protocols.mlflow`, over the same services as our own API."""
