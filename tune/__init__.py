"""Hyperparameter studies of recipes with Ray Tune."""
