"""Written language: tokenizers, text encoders, augmentation."""
