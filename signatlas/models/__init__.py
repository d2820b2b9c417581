"""Encoders that turn signing into vectors, loadable by from_pretrained."""
