"""From videos to poses: one recording, the store of finished ones, the corpus they become."""
