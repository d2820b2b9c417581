"""Task `sign_encoder`."""
