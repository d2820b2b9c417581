"""RGB frames of clips for image models: from the video if available, otherwise rendered from poses."""
