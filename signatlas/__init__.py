"""The science of signatlas: corpora, poses, models, losses, metrics and search. Knows no Ray."""

__version__ = "0.1.0"
