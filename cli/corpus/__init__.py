"""Commands of `signatlas corpus`."""
