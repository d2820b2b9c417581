"""Sign-to-word maps: which clips of a video match which words of its text."""
