"""mBART, as a translator needs it and as a model of its own, with low-rank adapters."""
