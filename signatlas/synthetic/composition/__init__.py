"""Composition of continuous signing from isolated recordings: lexicon, gloss matching, timing, blending, signers."""
