"""Task `pseudo_label`."""
