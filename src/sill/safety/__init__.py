"""One door for each danger: parsing, paths, outbound calls, archives, model files, secrets, requests. Decides nothing else."""
