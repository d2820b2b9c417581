"""Building index versions from a corpus and a model."""
