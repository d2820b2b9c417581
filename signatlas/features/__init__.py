"""Clip features of continuous signing: computed once, read many times."""
