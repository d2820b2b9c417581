"""Vocabularies of language models in the order of mBART-50."""
