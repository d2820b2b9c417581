"""Figures and animations: skeletons, training curves, embeddings, retrieval, density and translation results."""
