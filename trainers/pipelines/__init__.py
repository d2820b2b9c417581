"""Ray Data pipelines over signatlas functions: embed, index."""
