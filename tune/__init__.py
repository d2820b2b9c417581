"""Searches and studies with Ray Tune."""
