"""The log of signs that were added to a live index and removed from it, on a local disk or in an object store."""
