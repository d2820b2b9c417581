"""Pictures: skeleton strips, curves, embeddings."""
