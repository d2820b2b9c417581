"""Ray Data pipelines: extract, compose, embed, index, spot and translate corpora."""
