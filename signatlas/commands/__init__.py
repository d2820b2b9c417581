"""The functions behind the signatlas command that need no Ray."""
