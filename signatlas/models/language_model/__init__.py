"""mBART, as part of a translator and as a separate model, with low-rank adapters."""
