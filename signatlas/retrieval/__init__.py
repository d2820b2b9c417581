"""Vector indexes, snapshots on disk and search over them."""
