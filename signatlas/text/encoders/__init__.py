"""Text encoders of dual encoders."""
