"""Task `sign_classifier`."""
