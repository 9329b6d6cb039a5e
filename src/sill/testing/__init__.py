"""Contract suites of the ports: each driver here passes them, and plug-in authors run them on theirs."""
