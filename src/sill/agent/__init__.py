"""Does the platform's own kinds of run, inside the run's process, as a client: train, trial, ingest, evaluate, step."""
