"""Ray clusters: connecting, submitting jobs, storage, checks."""
