"""Text encoders of dual encoders: SentencePiece, CLIP, Hugging Face and USE-m3 sentence vectors."""
