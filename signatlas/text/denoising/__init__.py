"""Denoising pretraining of language models (mBART)."""
