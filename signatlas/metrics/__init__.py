"""How good a ranking, a translation or a space is."""
