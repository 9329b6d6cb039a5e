"""Sill's inference plane beside other servers: the same models, the same questions, one machine, one run."""
