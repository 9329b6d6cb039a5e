"""MLflow's REST protocol, translated: its messages as structs, its texts and codes of errors. No rule of ours lives here."""
