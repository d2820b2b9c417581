"""Search for isolated signs: spaces, protocols, report."""
