"""Clip features of continuous signing, their windows and pseudo-labels."""
