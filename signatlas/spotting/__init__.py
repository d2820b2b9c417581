"""Signs found in continuous signing: pseudo-labels, and how good they are."""
