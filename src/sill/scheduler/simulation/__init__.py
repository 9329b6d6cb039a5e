"""The daemon's own decisions in an event heap: replays, baselines, what-ifs."""
