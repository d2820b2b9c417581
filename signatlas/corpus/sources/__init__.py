"""Public corpora and formats of others: one file a source."""
