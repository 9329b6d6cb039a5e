"""Whatever executes and leaves metrics."""
