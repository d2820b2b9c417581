"""From keypoints to model input: skeleton, normalisation, features, augmentation, .pose files."""
