"""Training objectives as plain torch functions."""
