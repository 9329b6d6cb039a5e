"""From a fitted model to a checked, portable bundle: export, parity, evaluation."""
