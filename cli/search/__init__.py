"""`signatlas search`: signs, sentences, and a remote service."""
