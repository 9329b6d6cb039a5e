"""What the scheduler comes to on public traces, beside what was published."""
