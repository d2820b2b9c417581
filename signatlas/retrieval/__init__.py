"""Index versions on disk and search in them: signs by a recording, sentences by a text or a clip."""
