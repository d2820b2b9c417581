"""Extraction: from videos to poses, resumable, assembled into a corpus."""
