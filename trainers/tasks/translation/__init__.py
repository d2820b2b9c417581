"""Task `translation`."""
