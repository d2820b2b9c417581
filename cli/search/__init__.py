"""`signatlas search`: signs, sentences, and requests to a running service."""
