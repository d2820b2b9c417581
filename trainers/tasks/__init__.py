"""Training tasks: one folder a task."""
