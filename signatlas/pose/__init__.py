"""From keypoints to model input: skeleton, normalization, features, augmentation, .pose files."""
