"""Poses: the skeleton, normalization, features, augmentation, quality, video, MediaPipe, `.pose` files and JSON."""
