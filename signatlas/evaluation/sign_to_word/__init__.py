"""Which part of the signing answers to which word."""
