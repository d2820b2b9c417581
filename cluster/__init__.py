"""Where signatlas runs: connecting, submitting, storage, doctor."""
