"""Search for isolated signs: protocols, suites, baseline, report."""
