"""Probes of composed corpora for shortcuts, template matching as a control without learning, and their report."""
