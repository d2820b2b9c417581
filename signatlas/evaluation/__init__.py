"""Evaluate a space on a corpus: who is asked, who is searched, what is chance. Numpy only; models enter as vectors."""
