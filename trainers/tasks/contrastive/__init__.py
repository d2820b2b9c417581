"""Task `contrastive`."""
