"""Routing between revisions, rollout judged by what was answered, requests and labels as lake rows."""
