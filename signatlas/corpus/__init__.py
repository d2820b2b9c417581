"""The corpus format, its public adapters and the composer."""
